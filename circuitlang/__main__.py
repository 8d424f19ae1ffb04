from circuitlang.cli.main import main

main(prog_name="circuitlang")

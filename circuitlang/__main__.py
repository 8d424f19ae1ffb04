from circuitlang.cli import main

main(prog_name="circuitlang")

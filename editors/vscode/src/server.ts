// The process of the server: which program it is, and what is wrong if it doesn't start. Knows nothing of VS Code.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** A server that didn't start, and the cure. */
export class StartError extends Error {}

/** Return the program to start: the configured one, that of the folder's virtual environment, or that of the PATH. */
export function program(configured: string, folder: string | undefined, windows = process.platform === "win32"): string {
  if (configured.trim()) return configured.trim();
  const local = folder && join(folder, ".venv", windows ? "Scripts" : "bin", windows ? "circuitlang.exe" : "circuitlang");
  return local && existsSync(local) ? local : "circuitlang";
}

/** Start `circuitlang lsp` in a folder. `ended` hears the reason if the process ends by itself with an error. */
export function start(command: string, folder: string | undefined, ended: (error: StartError) => void): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const server = spawn(command, ["lsp"], { cwd: folder, stdio: "pipe" });
    let said = "";
    server.stderr.setEncoding("utf-8").on("data", (text: string) => {
      said = (said + text).slice(-4000);
    });
    server.on("error", (error: NodeJS.ErrnoException) => reject(new StartError(cure(command, error))));
    server.on("spawn", () => {
      server.on("close", (code) => {
        if (code) ended(new StartError(`\`${command} lsp\` ended: ${said.trim() || `exit code ${code}`}`));
      });
      resolve(server);
    });
  });
}

function cure(command: string, error: NodeJS.ErrnoException): string {
  const reason = error.code === "ENOENT" ? `there is no program '${command}'` : `'${command}' can't be started (${error.message})`;
  return `${reason}. Install it with \`pip install 'circuitlang[lsp]'\`, or name it in the setting circuitlang.command.`;
}

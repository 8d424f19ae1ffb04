// The server as the extension starts it: `npm run test:client`. CIRCUITLANG names the program.

import assert from "node:assert/strict";
import { mkdtempSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import {
  type CodeLens,
  createProtocolConnection,
  type Diagnostic,
  type InitializeResult,
  type ProtocolConnection,
  type PublishDiagnosticsParams,
} from "vscode-languageserver-protocol/node";

import manifest from "../package.json";
import { nearest, OPEN, PLAN, RUN } from "../src/lenses";
import { program, start, StartError } from "../src/server";

const COMMAND = process.env.CIRCUITLANG ?? "circuitlang";
const SOUND = "circuit dog = preserve conv5:34 on bundled.dogs keep<=5%\n";
const folder = mkdtempSync(join(tmpdir(), "circuitlang "));
const uri = pathToFileURL(join(folder, "spec.circuit")).href;

let connection: ProtocolConnection;
let capabilities: InitializeResult["capabilities"];
const heard: ((mistakes: Diagnostic[]) => void)[] = [];

/** Wait for the next diagnostics. */
const diagnostics = () => new Promise<Diagnostic[]>((resolve) => heard.push(resolve));

before(async () => {
  const server = await start(COMMAND, folder, (error) => assert.fail(error.message));
  assert(server.stdout && server.stdin);
  connection = createProtocolConnection(server.stdout, server.stdin);
  connection.onNotification("textDocument/publishDiagnostics", (parameters: PublishDiagnosticsParams) =>
    heard.shift()?.(parameters.diagnostics),
  );
  connection.listen();
  const parameters = { processId: process.pid, rootUri: pathToFileURL(folder).href, capabilities: {} };
  ({ capabilities } = await connection.sendRequest<InitializeResult>("initialize", parameters));
  await connection.sendNotification("initialized", {});
}, { timeout: 60_000 });

after(async () => {
  await connection.sendRequest("shutdown");
  await connection.sendNotification("exit");
  connection.end();
});

test("mistakes come and go", async () => {
  const mistakes = diagnostics();
  const text = SOUND.replace("conv5", "conv9");
  const textDocument = { uri, languageId: "circuit", version: 1, text };
  await connection.sendNotification("textDocument/didOpen", { textDocument });
  assert.deepEqual((await mistakes).map(({ code }) => code), ["E102"]);
  const none = diagnostics();
  const changed = { textDocument: { uri, version: 2 }, contentChanges: [{ text: SOUND }] };
  await connection.sendNotification("textDocument/didChange", changed);
  assert.deepEqual(await none, []);
});

test("the server has the commands of the extension, and these have names of their own", async () => {
  const commands = capabilities.executeCommandProvider?.commands ?? [];
  for (const command of [RUN, PLAN, OPEN]) assert(commands.includes(command), command);
  for (const { command } of manifest.contributes.commands) assert(!commands.includes(command), command);
  const lenses = await connection.sendRequest<CodeLens[]>("textDocument/codeLens", { textDocument: { uri } });
  assert.deepEqual(lenses.map(({ command }) => command?.command), [RUN, PLAN]);
  assert.equal(nearest(lenses, 0), undefined);
});

test("the diagram is that of the circuit at the cursor", () => {
  const lens = (line: number, command: string): CodeLens => ({
    range: { start: { line, character: 0 }, end: { line, character: 0 } },
    command: { title: command, command, arguments: [line] },
  });
  const lenses = [lens(2, RUN), lens(2, OPEN), lens(5, RUN), lens(5, OPEN), lens(8, RUN)];
  assert.deepEqual([0, 2, 4, 5, 9].map((line) => nearest(lenses, line)?.[0]), [2, 2, 2, 5, 5]);
});

test("a missing program is explained with its cure", async () => {
  const starting = start("no-such-program", folder, () => undefined);
  await assert.rejects(starting, (error) => error instanceof StartError && /no program.*pip install.*circuitlang\.command/.test(error.message));
});

test("a program that ends with an error is heard", async () => {
  const reason = await new Promise<StartError>((resolve, reject) => {
    start(process.execPath, folder, resolve).catch(reject); // Node has no program `lsp`
  });
  assert.match(reason.message, /lsp` ended: [^]*Cannot find module/);
});

test("the program is the configured one, that of the folder or that of the path", () => {
  assert.equal(program("", folder), "circuitlang");
  mkdirSync(join(folder, ".venv", "bin"), { recursive: true });
  writeFileSync(join(folder, ".venv", "bin", "circuitlang"), "");
  assert.equal(program("", folder, false), join(folder, ".venv", "bin", "circuitlang"));
  assert.equal(program("", folder, true), "circuitlang");
  assert.equal(program("", undefined), "circuitlang");
  assert.equal(program(" /opt/circuitlang ", folder, false), "/opt/circuitlang");
});

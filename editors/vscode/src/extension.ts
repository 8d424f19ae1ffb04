// The extension: it starts the server, and offers its commands for the file that is being edited.

import type { ChildProcess } from "node:child_process";

import * as vscode from "vscode";
import {
  CloseAction,
  type CloseHandlerResult,
  type CodeLens,
  type ErrorHandler,
  LanguageClient,
  type LanguageClientOptions,
  RevealOutputChannelOn,
} from "vscode-languageclient/node";

import { nearest, OPEN, PLAN, RUN } from "./lenses";
import { program, start, StartError } from "./server";

const INSTALLING = "https://github.com/circuitlang/circuitlang/blob/main/docs/guides/editors.md";
const TITLES: Record<string, string> = { [RUN]: "Running circuits", [PLAN]: "Planning" };

// How often a server that crashes is started again, and what to do with one that never answered.
const RESTARTS = 3;
const GIVE_UP: CloseHandlerResult = { action: CloseAction.DoNotRestart, handled: true };

let client: LanguageClient | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const { registerCommand } = vscode.commands;
  context.subscriptions.push(
    registerCommand("circuitlang.runFile", () => onFile(RUN)),
    registerCommand("circuitlang.planFile", () => onFile(PLAN)),
    registerCommand("circuitlang.openDiagram", openDiagram),
    registerCommand("circuitlang.restart", restart),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("circuitlang.command")) void restart();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void restart()),
  );
  await connect();
}

export async function deactivate(): Promise<void> {
  await client?.dispose().catch(() => undefined); // it may never have started
}

async function restart(): Promise<void> {
  const last = client;
  client = undefined;
  await last?.dispose().catch(() => undefined);
  await connect();
}

async function connect(): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri.fsPath;
  const configured = vscode.workspace.getConfiguration("circuitlang").get("command", "");
  const command = program(configured, vscode.workspace.isTrusted ? folder : undefined);
  let handler: ErrorHandler;
  let serving = false;
  const ended = (error: StartError) => {
    if (!serving) void explain(error);
  };
  const options: LanguageClientOptions = {
    documentSelector: [{ language: "circuit", scheme: "file" }, { language: "circuit", scheme: "untitled" }],
    synchronize: { fileEvents: vscode.workspace.createFileSystemWatcher("**/*.circuit") },
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationFailedHandler: () => false,
    errorHandler: { error: (...words) => handler.error(...words), closed: async () => (serving ? handler.closed() : GIVE_UP) },
    middleware: { executeCommand: execute },
  };
  try {
    // The client would show errors of its own about a missing program.
    let server: ChildProcess | undefined = await start(command, folder, ended);
    const next = async () => {
      const started = server ?? (await start(command, folder, ended));
      server = undefined;
      return started;
    };
    client = new LanguageClient("circuitlang", "circuitlang", next, options);
    handler = client.createDefaultErrorHandler(RESTARTS);
    await client.start();
    serving = client.isRunning(); // starting also resolves for a server that ended at once
  } catch (error) {
    client = undefined;
    if (error instanceof StartError) void explain(error); // the client itself shows others
  }
}

/** Show why the server didn't start, with the cure. */
async function explain(error: StartError): Promise<void> {
  const settings = "Open settings";
  const help = "How to install";
  const choice = await vscode.window.showErrorMessage(`circuitlang: ${error.message}`, help, settings);
  if (choice === settings) await vscode.commands.executeCommand("workbench.action.openSettings", "circuitlang.command");
  if (choice === help) await vscode.env.openExternal(vscode.Uri.parse(INSTALLING));
}

/** Execute a command of the server, on files as they are in the editor, and show that it works. */
async function execute(command: string, words: unknown[], next: (command: string, words: unknown[]) => unknown): Promise<unknown> {
  const title = TITLES[command];
  if (title === undefined) return next(command, words);
  const document = vscode.workspace.textDocuments.find(({ uri }) => uri.fsPath === words[0]);
  if (document?.isDirty && !(await document.save())) return undefined;
  const location = vscode.ProgressLocation.Window;
  return vscode.window.withProgress({ location, title }, async () => next(command, words));
}

async function onFile(command: string): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  if (document === undefined || !(await ready())) return;
  if (document.isUntitled && !(await document.save())) return; // the server reads files
  const { uri } = vscode.window.activeTextEditor?.document ?? document; // saving may have given it a name
  await vscode.commands.executeCommand(command, uri.fsPath);
}

async function openDiagram(): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined || !(await ready())) return;
  const textDocument = { uri: editor.document.uri.toString() };
  const lenses = await client?.sendRequest<CodeLens[] | null>("textDocument/codeLens", { textDocument });
  const diagram = nearest(lenses ?? [], editor.selection.active.line);
  if (diagram === undefined) {
    void vscode.window.showInformationMessage("circuitlang: no circuit of this file has a result yet. Run it first.");
  } else {
    await vscode.commands.executeCommand(OPEN, ...diagram);
  }
}

/** Return whether the server runs; try once more to start it, as the user may have installed it since. */
async function ready(): Promise<boolean> {
  if (client === undefined) await connect();
  return client?.isRunning() ?? false;
}

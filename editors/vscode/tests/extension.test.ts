// The packaged extension with an editor that stands in for VS Code, which can't be downloaded everywhere.

import assert from "node:assert/strict";
import Module from "node:module";
import { join } from "node:path";
import { test } from "node:test";

import manifest from "../package.json";
import { OPEN, PLAN, RUN } from "../src/lenses";

type Loader = { _load: (name: string, ...rest: unknown[]) => unknown };
type Extension = { activate(context: object): Promise<void>; deactivate(): Promise<void> };

const registered = new Set<string>();
const errors: string[] = [];
let command = "no-such-program";

/** Return something that can be called, constructed, extended and asked for any member. */
function anything(members: object = {}): unknown {
  const made = new Map<string | symbol, unknown>(Object.entries(members));
  const proxy: object = new Proxy(class {}, {
    apply: () => anything(),
    construct: (target, words, made) => (made === proxy ? anything() : Reflect.construct(target, words, made)) as object,
    ownKeys: (target) => [...new Set([...Reflect.ownKeys(target), ...made.keys()])],
    get: (target, name) => {
      if (name in target || name === "then" || typeof name === "symbol") return Reflect.get(target, name);
      if (!made.has(name)) made.set(name, anything());
      return made.get(name);
    },
  });
  return proxy;
}

const vscode = anything({
  version: "1.82.0",
  env: anything({ appName: "stand-in", language: "en" }),
  commands: anything({
    registerCommand: (name: string) => {
      assert(!registered.has(name), `command '${name}' already exists`);
      registered.add(name);
      return { dispose: () => registered.delete(name) };
    },
  }),
  window: anything({ showErrorMessage: async (text: string) => void errors.push(text), visibleTextEditors: [], tabGroups: anything({ all: [] }) }),
  workspace: anything({
    isTrusted: true,
    textDocuments: [],
    notebookDocuments: [],
    workspaceFolders: undefined,
    getConfiguration: () => ({ get: (name: string, otherwise: unknown) => (name === "command" ? command : otherwise) }),
  }),
});

const loader = Module as unknown as Loader;
const load = loader._load;
loader._load = (name, ...rest) => (name === "vscode" ? vscode : load.call(Module, name, ...rest));

async function activated(): Promise<Extension> {
  registered.clear();
  errors.length = 0;
  const path = join(__dirname, "..", "extension.js");
  delete require.cache[path];
  const extension = require(path) as Extension;
  await extension.activate({ subscriptions: [] });
  return extension;
}

test("the commands of the manifest are registered, and a missing program is explained", async () => {
  const extension = await activated();
  assert.deepEqual([...registered].sort(), manifest.contributes.commands.map(({ command }) => command).sort());
  assert.match(errors.join(), /^circuitlang: there is no program 'no-such-program'.*pip install.*circuitlang\.command/);
  await extension.deactivate();
});

test("the server is started, and its commands are added", async () => {
  command = process.env.CIRCUITLANG ?? "circuitlang";
  const extension = await activated();
  assert.deepEqual(errors, []);
  for (const name of [RUN, PLAN, OPEN]) assert(registered.has(name), name);
  await extension.deactivate();
});

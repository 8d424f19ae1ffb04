// The commands of the server, and the code lenses that carry them.

import type { CodeLens } from "vscode-languageserver-protocol";

export const RUN = "circuitlang.run";
export const PLAN = "circuitlang.plan";
export const OPEN = "circuitlang.open";

/** Return the arguments that open the diagram of the circuit at a line: the last above it, otherwise the first below. */
export function nearest(lenses: CodeLens[], line: number): unknown[] | undefined {
  const diagrams = lenses.filter(({ command }) => command?.command === OPEN);
  const above = diagrams.filter(({ range }) => range.start.line <= line);
  return (above.at(-1) ?? diagrams[0])?.command?.arguments;
}

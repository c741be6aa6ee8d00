/** Pure: plain tables and definitions, in ASCII columns that `awk` and eyes can read. */
import { printable } from './printable.js'

/** Columns as wide as they must be, two spaces between, the last one ragged. An empty cell is `-`. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [header, ...rows.map((row) => row.map((cell) => printable(cell) || '-'))]
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells.map((row) => formatRow(row, widths)).join('\n')
}

function formatRow(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
    .join('  ')
    .trimEnd()
}

/** `name   value` under each other; pairs without a value are left out. */
export function formatFacts(
  pairs: readonly (readonly [string, string | undefined])[],
  indent = '  ',
): string {
  const shown = pairs.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${indent}${name.padEnd(width)}  ${value}`).join('\n')
}

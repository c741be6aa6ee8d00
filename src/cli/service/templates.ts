/** The start script of the service, and the escaping that units and property lists need. */
import { usageError } from '../failure.js'

export interface LauncherFacts {
  /** A path that survives upgrades, if there is one. */
  readonly node: string
  /** `dist/authd.js` of the package. */
  readonly program: string
  /** The guarded flags that this Node accepts. */
  readonly flags: readonly string[]
  /** Absolute directories to search once `node` or `program` is gone. */
  readonly path: readonly string[]
}

/**
 * No debugger by signal, no environment in crash reports. Only newer Nodes know these flags; with any flag of V8 a start of
 * Node 20 takes half as long again. What saves memory, the program sets itself.
 */
export const GUARDED_FLAGS = ['--disable-sigusr1', '--report-exclude-env']

/** A script for `sh` that searches for Node and the package at every start, in case they have moved. */
export function renderLauncher({ node, program, flags, path }: LauncherFacts): string {
  return `#!/bin/sh
# Starts prefect-authd with the Node and package of the installation, else with those found now.
# Written by \`prefect-auth service install\`, which overwrites it.
node=${quote(node)}
program=${quote(program)}
# prefect-authd-peers@.service
[ "\${1-}" = peers ] && program=\${program%/*}/peers.js
if [ -x "$node" ] && [ -r "$program" ]; then
  exec ${['"$node"', ...flags].join(' ')} "$program"
fi
[ "\${1-}" = peers ] && exit 78
PATH=${quote(path.join(':'))}:$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin
for dir in "$HOME"/.nvm/versions/node/*/bin "$HOME"/.volta/bin "$HOME"/.local/share/mise/shims; do
  PATH=$PATH:$dir
done
export PATH
echo "prefect-authd: $node or $program is gone; to record where they are now: prefect-auth service install" >&2
front=\${program%/*}/prefect-authd
[ -x "$front" ] || front=$(command -v prefect-authd) || front=
if [ -n "$front" ] && { why=$("$front" --version 2>&1 >/dev/null) || ! echo "$why" >&2; }; then
  exec "$front"
fi
echo 'prefect-authd: nothing to start; install the package again (README.md), then: prefect-auth service install' >&2
# launchd keeps restarting what exits with any other code.
[ "\${PREFECT_AUTHD_STARTED_BY-}" = launchd ] && exit 0
exit 78
`
}

/** Quotes exactly, unlike `shellWord`, which drops what people cannot see. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** Replaces every `@NAME@`. Throws for a name without a value. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/@([A-Z]+)@/g, (_whole, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`the template has no value for ${name}`)
    return value
  })
}

/** One word of a unit's command line, in which `%` starts a specifier and `$` a variable. */
export function unitWord(text: string): string {
  return quoted(text).replaceAll('$', '$$$$')
}

/** One path of a list, or one assignment of `Environment=`; `$` is not special there. */
export function unitItem(text: string): string {
  return quoted(text)
}

/** The whole rest of a line, as for `ListenStream=`. */
export function unitLine(text: string): string {
  return singleLine(text).replaceAll('%', '%%')
}

function quoted(text: string): string {
  const escaped = singleLine(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%')
  return /^[\w@+:,./=%-]+$/.test(escaped) ? escaped : `"${escaped}"`
}

/** The text of an element in a property list. */
export function xmlText(text: string): string {
  return singleLine(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** No unit and no property list can name it. */
export function hasControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these
  return /[\u0000-\u001f\u007f]/.test(text)
}

function singleLine(text: string): string {
  if (!hasControl(text)) return text
  throw usageError('a service cannot use a path or variable with a line break or control character')
}

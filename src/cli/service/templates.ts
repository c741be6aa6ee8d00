/** Pure: the script that a service starts. It outlives a moved Node and a moved package: it looks again at every start. */
import { failWith } from '../../client/failure.js'

export interface LauncherFacts {
  /** As found on the path where possible, so that an upgrade in place is followed. */
  readonly node: string
  /** `dist/authd.js` of the package. */
  readonly program: string
  /** What this Node knows of the flags that not every version has. */
  readonly flags: readonly string[]
  /** Absolute directories: where to look once node or program are gone. */
  readonly path: readonly string[]
}

/**
 * What a burst of requests leaves behind: measured, 26 MB of private memory instead of 56. `--optimize-for-size` and a small
 * `--max-old-space-size` save nothing more and make a start a fifth slower.
 */
const LEAN = ['--max-semi-space-size=1']
/** Nobody attaches a debugger by a signal; a crash report has no environment in it. Not known to every Node. */
export const GUARDED_FLAGS = ['--disable-sigusr1', '--report-exclude-env']

export function renderLauncher({ node, program, flags, path }: LauncherFacts): string {
  return `#!/bin/sh
# Starts prefect-authd: with the Node and the package of the installation, else with what is there now.
# Written by \`prefect-auth service install\`, which writes it anew.
node=${quote(node)}
program=${quote(program)}
if [ -x "$node" ] && [ -r "$program" ]; then
  exec "$node" ${[...LEAN, ...flags].join(' ')} "$program"
fi
PATH=${quote(path.join(':'))}:$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin
for dir in "$HOME"/.nvm/versions/node/*/bin "$HOME"/.volta/bin "$HOME"/.local/share/mise/shims; do
  PATH=$PATH:$dir
done
export PATH
echo "prefect-authd: $node or $program is gone; prefect-auth service install writes down where they are now" >&2
if [ -r "$program" ] && command -v node >/dev/null; then
  exec node ${LEAN.join(' ')} "$program"
fi
found=$(command -v prefect-authd) && exec "$found"
echo 'prefect-authd: no Node or no prefect-authd is found any more: npm install --global prefect-auth-broker' >&2
# launchd starts for ever what ends otherwise.
[ "\${PREFECT_AUTHD_STARTED_BY-}" = launchd ] && exit 0
exit 78
`
}

/** Exactly, unlike what is shown to people: nothing is special between single quotes but the quote itself. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** Replaces every `@NAME@`. Fails for a name without a value, and for a value of more than one line that is not ours. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/@([A-Z]+)@/g, (_whole, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`the template has no value for ${name}`)
    return value
  })
}

/** One word of a unit's command line: `%` is a specifier there, `$` a variable. */
export function unitWord(text: string): string {
  return quoted(text).replaceAll('$', '$$$$')
}

/** One of a list of paths, or one assignment of `Environment=`: there `$` is a letter. */
export function unitItem(text: string): string {
  return quoted(text)
}

/** The whole rest of a line, as `ListenStream=` takes it. */
export function unitLine(text: string): string {
  return singleLine(text).replaceAll('%', '%%')
}

function quoted(text: string): string {
  const escaped = singleLine(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%')
  return /^[\w@+:,./=%-]+$/.test(escaped) ? escaped : `"${escaped}"`
}

/** Text of an element of a property list. */
export function xmlText(text: string): string {
  return singleLine(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function singleLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these can't stand in a unit
  if (!/[\u0000-\u001f\u007f]/.test(text)) return text
  return failWith({
    code: 'usage',
    kind: 'usage',
    detail: 'a path or variable with a line break or control character in it can go into no service',
  })
}

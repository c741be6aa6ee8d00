/**
 * Nothing is installed by a name that we have not published: whoever registers it would run code at everybody who follows our
 * own advice. Texts show files and folders instead.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PLACES = ['.', 'docs', 'src', 'python', 'scripts', 'examples', 'systemd', 'launchd', '.ci', '.github']
const TEXT = /(^[^.]+|\.(md|ts|mjs|py|sh|toml|json|yml|service|plist))$/

/** What fetches a package by its name, up to the words that may be one. */
const INSTALLS =
  /\b(?:(?:npm|pnpm|yarn|bun) +(?:install|i|add|exec|x|dlx|update)|npx|bunx|pip3? +(?:install|download)|pipx +(?:install|run|upgrade)|uv +(?:tool +(?:install|run|upgrade)|pip +install|add)|uvx)\b([^`'"|;&()\n]*)/g
const OURS = /^(?:@[^/]+\/)?prefect[-_.]?auth(?:[-_.]?(?:broker|plugin|d))?(?:[@=<>~![].*)?$/i

/** Installs of ours by name in a text. A name after `--from PATH` is a program of that package. */
function installsByName(text: string): readonly string[] {
  return [...text.matchAll(INSTALLS)]
    .filter(([, words = '']) => {
      const [, from] = /--from[ =](\S+)/.exec(words) ?? []
      return (from === undefined ? words.split(/\s+/) : [from]).some((word) => OURS.test(word))
    })
    .map(([whole]) => whole.trim())
}

function textsIn(place: string): readonly string[] {
  const isTop = place === '.'
  return readdirSync(join(ROOT, place), { recursive: !isTop, withFileTypes: true })
    .filter((entry) => entry.isFile() && TEXT.test(entry.name) && entry.name !== 'package-lock.json')
    .map((entry) => join(entry.parentPath, entry.name))
}

t.test('no text installs one of our packages by name', async (t) => {
  const files = PLACES.flatMap(textsIn)
  t.ok(files.length > 200, 'the texts are found')
  const found = files.flatMap((file) =>
    installsByName(readFileSync(file, 'utf8')).map((line) => `${file.slice(ROOT.length)}: ${line}`),
  )
  t.strictSame(found, [])
})

t.test('the rule notices what it forbids', async (t) => {
  for (const line of [
    'npm install --global prefect-auth-broker',
    'npm i -g prefect-auth-broker@latest',
    'npx prefect-auth status',
    'pip install prefect-auth-plugin',
    'python -m pip install -U "x" prefect_auth_broker==0.1.0',
    'pipx install prefect-auth-broker',
    'uv tool install prefect-auth-broker[x]',
    'uv pip install --python .venv prefect-auth-plugin',
    'uvx --from prefect-auth-broker prefect-auth',
    'uvx prefect-auth',
  ])
    t.equal(installsByName(line.replaceAll('"', '')).length, 1, line)
  for (const line of [
    'npm ci && npm run build',
    'npm install --global ./prefect-auth-broker-0.1.0.tgz',
    'uv tool install wheels/prefect_auth_broker-0.1.0-py3-none-any.whl',
    'uvx --from wheels/prefect_auth_broker-0.1.0-py3-none-any.whl prefect-auth',
    'pip install --no-index --no-deps /a/prefect_auth_plugin-0.1.0-py3-none-any.whl',
    'npx tsx scripts/settings-table.ts',
  ])
    t.same(installsByName(line), [], line)
})

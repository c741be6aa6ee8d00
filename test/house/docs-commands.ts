/**
 * Every command of ours in a page for users is one that exists, with options that it has, and is run by a test that is named here,
 * or is marked as not run, with the reason. The worked settings file is accepted by the program that reads it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import t from 'tap'
import { createProgram } from '../../src/cli/main.js'
import { resolveSettings } from '../../src/config/settings.js'
import { SILENT } from '../fixtures/hints.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
/** What is about the code, not about using it. */
const NOT_FOR_USERS = ['architecture.md', 'errors.md']
const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md') && !NOT_FOR_USERS.includes(name))
    .map((name) => `docs/${name}`),
]
const program = createProgram(async () => undefined, SILENT)
/** Read by the parsers of `src/cli/fast`, or of the whole program. */
const EVERYWHERE = ['-h', '--help', '-p', '--profile', '--json']

/** Which test runs it: its text has the words of the command. */
const RUN: Readonly<Record<string, string>> = {
  'token create --ask --name': 'test/fixtures/asks-stage.ts',
  'exec --ask --proxy': 'test/cli/limits.ts',
  'agent run': 'test/cli/agent.ts',
  '': 'test/cli/status.ts',
  asks: 'test/e2e/asks.ts',
  'asks show': 'test/e2e/asks.ts',
  'asks yes': 'test/e2e/asks.ts',
  doctor: 'test/e2e/doctor-here.ts',
  env: 'test/cli/env.ts',
  'env --proxy': 'test/e2e/ssh.ts',
  exec: 'test/cli/exec.ts',
  'exec --proxy': 'test/fixtures/real-worker.ts',
  'exec --may --proxy': 'test/cli/limits.ts',
  'file add --what': 'test/files/keeper.ts',
  'file ls': 'test/files/keeper.ts',
  'file rm': 'test/files/keeper.ts',
  'get key': 'test/cli/get.ts',
  'hook bash': 'test/cli/hook.ts',
  integrate: 'test/e2e/plugin.ts',
  'integrate --all': 'test/e2e/plugin.ts',
  'integrate --all --remove': 'test/e2e/plugin.ts',
  'integrate --python': 'test/fixtures/plugin-stage.ts',
  'integrate --remove': 'test/e2e/plugin.ts',
  'keys create --expires --name': 'test/cli/commands.ts',
  'keys ls': 'test/cli/commands.ts',
  'keys prune': 'test/e2e/keys-prune.ts',
  'keys prune --yes': 'test/e2e/keys-prune.ts',
  login: 'test/cli/login-terminal.ts',
  'login --key-stdin --workspace': 'test/fixtures/plugin-stage.ts',
  'login --on --workspace': 'test/e2e/ssh-login.ts',
  'logout --revoke': 'test/cli/commands.ts',
  'profile use': 'test/cli/commands.ts',
  'renew --now': 'test/e2e/keys-prune.ts',
  report: 'test/e2e/report.ts',
  'service install': 'test/e2e/service.ts',
  'service status': 'test/e2e/service.ts',
  'service uninstall': 'test/e2e/service-changes.ts',
  'service-account create': 'test/cli/renewal-commands.ts',
  setup: 'test/cli/setup.ts',
  'setup --print': 'test/cli/setup.ts',
  'setup --remove': 'test/e2e/setup-service.ts',
  'setup --yes': 'test/e2e/setup-service.ts',
  'share adopt': 'test/e2e/share.ts',
  'share init --probe': 'test/e2e/share-endings.ts',
  'share init --service-account': 'test/e2e/share.ts',
  'share leave': 'test/e2e/share.ts',
  'share rotate --now': 'test/e2e/share.ts',
  'share secret': 'test/e2e/share-endings.ts',
  'share status': 'test/e2e/share.ts',
  'share use': 'test/e2e/share.ts',
  'status --check': 'test/cli/status.ts',
  'status --socket': 'test/fixtures/shipped.ts',
  'status --url': 'test/e2e/ssh.ts',
  'token create --expires-in --name': 'test/cli/commands.ts',
  'token create --expires-in --name --power': 'test/cli/commands.ts',
  'token create --ask --may --name --requests-per-minute --writes-per-hour': 'test/cli/limits.ts',
  'token create --may --name --requests-per-minute --writes-per-hour': 'test/cli/limits.ts',
  'token create --may --name': 'test/cli/limits.ts',
  'token policies --operations': 'test/cli/limits.ts',
  'token show': 'test/cli/limits.ts',
  'uninstall --purge': 'test/cli/uninstall.ts',
  'uninstall --purge --revoke': 'test/cli/uninstall.ts',
  ui: 'test/cli/ui.ts',
  unlock: 'test/cli/commands.ts',
  'vault export': 'test/e2e/vault-transfer.ts',
  'vault import': 'test/e2e/vault-transfer.ts',
  'vault move --to': 'test/e2e/vault-commands.ts',
  'vault rekey': 'test/e2e/vault-commands.ts',
  'workspace ls': 'test/cli/commands.ts',
  'workspace set': 'test/cli/commands.ts',
}

/** Not run here, with the reason. The list may only become shorter. */
const NOT_RUN: Readonly<Record<string, string>> = {}

interface Mention {
  readonly page: string
  readonly line: string
  /** The words after the name of the program. */
  readonly words: readonly string[]
}

/** `prefect-auth` as a command: at the begin of a line, or of what a shell runs. */
const COMMAND = /(?:^|[\s"'`({=|;&])prefect-auth((?: +[^\s|;&)"'`#]+)*)/g

function mentionsIn(page: string, text: string): readonly Mention[] {
  return text.split('\n').flatMap((line) => {
    // Settings and paths are no commands.
    const code = line.replace(/^\s*#.*$/, '')
    return [...code.matchAll(COMMAND)].map(([, rest = '']) => ({
      page,
      line: line.trim(),
      words: rest
        .trim()
        .split(/ +/)
        .filter((word) => word !== ''),
    }))
  })
}

function fenced(page: string): readonly Mention[] {
  // Of every language, so that the end of one block is not taken for the begin of another.
  const blocks = [...read(page).matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)]
  const typed = blocks.filter(([, language = '']) => ['', 'sh', 'bash', 'zsh', 'fish'].includes(language))
  const mentions = typed.flatMap(([, , text = '']) => mentionsIn(page, text))
  // Its blocks are run as they stand, with what no other test runs: test/e2e/troubleshooting.ts.
  const isRunWhole = page === 'docs/troubleshooting.md'
  return isRunWhole ? mentions.filter((mention) => parse(mention).signature in RUN) : mentions
}

/** Code within a sentence or a table; `prefect-auth` alone is the name. */
function inline(page: string): readonly Mention[] {
  const prose = read(page).replace(/^```[\s\S]*?^```/gm, '')
  return [...prose.matchAll(/`([^`\n]+)`/g)].flatMap(([, text = '']) => mentionsIn(page, text))
}

/** The command with its long options in order, without arguments; `problem` if there is no such command or option. */
function parse({ words }: Mention): { readonly signature: string; readonly problem?: string } {
  let command: Command = program
  const path: string[] = []
  const options: string[] = []
  for (const [at, word] of words.entries()) {
    // What follows belongs to the command that exec runs.
    if (word === '--') break
    const next = command.commands.find((one) => one.name() === word || one.aliases().includes(word))
    if (next !== undefined && options.length === 0 && path.length === at) {
      command = next
      path.push(next.name())
    } else if (/^--?[a-z]/.test(word)) {
      const known = command.options.find(({ long, short }) => [long, short].includes(word))
      if (known === undefined && !EVERYWHERE.includes(word))
        return { signature: '', problem: `${path.join(' ')} has no option ${word}` }
      if (!EVERYWHERE.includes(word)) options.push(known?.long ?? word)
    } else if (command.commands.length > 0 && !/^[A-Z<[]/.test(word)) {
      const isList = word.split('|').every((one) => command.commands.some((known) => known.name() === one))
      if (!isList) return { signature: '', problem: `no command ${[...path, word].join(' ')}` }
    } else if (['hook', 'get', 'completion'].includes(path[0] ?? '') && path.length === 1) path.push(word)
  }
  return { signature: [...path, ...options.sort()].join(' ') }
}

t.test('every command in a page exists, with its options', (t) => {
  const all = PAGES.flatMap((page) => [...fenced(page), ...inline(page)])
  t.ok(all.length > 80, 'they are found')
  for (const mention of all) t.equal(parse(mention).problem, undefined, `${mention.page}: ${mention.line}`)
  t.end()
})

t.test('every command that a page shows to be typed is run by a test, or said not to be', (t) => {
  const shown = PAGES.flatMap(fenced)
  t.ok(shown.length > 40, 'they are found')
  const used = new Set<string>()
  for (const mention of shown) {
    const { signature } = parse(mention)
    used.add(signature)
    t.ok(
      Object.hasOwn(RUN, signature) || Object.hasOwn(NOT_RUN, signature),
      `${mention.page}: '${signature}' of: ${mention.line}`,
    )
  }
  const listed = [...Object.keys(RUN), ...Object.keys(NOT_RUN)]
  t.same(
    listed.filter((signature) => !used.has(signature) && signature !== ''),
    [],
    'nothing is listed that no page shows',
  )
  t.end()
})

t.test('the test that is named runs it', (t) => {
  for (const [signature, path] of Object.entries(RUN)) {
    const text = read(path)
    for (const word of signature.split(' ')) {
      const isShort = word === '--workspace' && / -w /.test(text)
      t.ok(isShort || text.includes(word), `${path}: ${word} of ${signature}`)
    }
  }
  t.end()
})

t.test('the worked settings file is accepted, also with what is commented out', (t) => {
  const [, block = ''] = /```toml\n([\s\S]*?)```/.exec(read('docs/words.md')) ?? []
  for (const text of [block, block.replace(/^# (\w+ = )/gm, '$1')]) {
    const outcome = resolveSettings({ flags: {}, env: {}, file: { path: '/config.toml', text } })
    t.match(outcome, { kind: 'settings' })
  }
  t.match(
    resolveSettings({
      flags: {},
      env: {},
      file: { path: '/config.toml', text: `${block}\nno_setting = 1\n` },
    }),
    { kind: /^(?!settings$)/ },
  )
  t.end()
})

t.test('the rule notices what it forbids', (t) => {
  for (const [line, problem] of [
    ['prefect-auth nonsense', 'no command nonsense'],
    ['prefect-auth token nonsense', 'no command token nonsense'],
    ['prefect-auth token ls --power use', 'token ls has no option --power'],
    ['eval "$(prefect-auth env --nope)"', 'env has no option --nope'],
  ] as const)
    t.same(
      mentionsIn('x', line).map((mention) => parse(mention).problem),
      [problem],
      line,
    )
  t.equal(mentionsIn('x', 'cat ~/.config/prefect-auth/config.toml').length, 0)
  t.end()
})

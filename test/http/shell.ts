/** The text that shells evaluate, evaluated by the shells themselves. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { ERROR_CODES } from '../../src/base/errors.js'
import {
  failureLine,
  quoteDotenv,
  quoteFish,
  quotePowershell,
  quoteSh,
  renderShell,
} from '../../src/http/shell.js'

const directory = mkdtempSync(join(tmpdir(), 'pab-shell-'))
t.teardown(() => rmSync(directory, { recursive: true }))

/** What is special to some shell, often; everything else that an environment can hold, sometimes. */
const nasty = fc
  .string({
    unit: fc.oneof(
      {
        weight: 3,
        arbitrary: fc.constantFrom(...'\'"`$\\;&|<>()[]{}*?!#~= \t\n\r%@^-\u2018\u2019\u201a\u201b\u0001'),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom('$(touch owned)', '`touch owned`', "'; touch owned; '", '$HOME', '%PATH%'),
      },
      { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 3 }) },
    ),
    maxLength: 30,
  })
  .filter((text) => !text.includes('\0'))

/** Evaluates `script` and answers what the variables became, as NUL-separated text. */
function evaluated(shell: string, script: string, print: string): string[] {
  const file = join(directory, 'script')
  writeFileSync(file, `${script}\n${print}\n`)
  const args = shell === 'fish' ? ['--no-config', file] : [file]
  const output = execFileSync(shell, args, { cwd: directory, env: { PATH: process.env.PATH ?? '' } })
  return output.toString('utf8').split('\0').slice(0, -1)
}

/** As people type it, with curl in the place of cat. */
const EVAL = 'eval "$(cat answer)"'

const shells = [
  {
    shell: 'bash',
    format: 'sh',
    quote: quoteSh,
    capture: (text: string) => `${EVAL}${text}`,
  },
  {
    shell: 'dash',
    format: 'sh',
    quote: quoteSh,
    capture: (text: string) => `${EVAL}${text}`,
  },
  {
    shell: 'sh',
    format: 'sh',
    quote: quoteSh,
    capture: (text: string) => `${EVAL}${text}`,
  },
  { shell: 'fish', format: 'fish', quote: quoteFish, capture: (text: string) => `eval (cat answer)${text}` },
] as const

for (const { shell, format, quote, capture } of shells) {
  t.test(`${shell} takes every string for what it is`, (t) => {
    const values = [...fc.sample(nasty, 600), '', "'", "\\'", '\n', '\r\n', 'a\n', '-n', '\\', "\\\\''\\"]
    const words = values.map(quote).join(' ')
    t.same(evaluated(shell, `printf '%s\\0' ${words}`, ''), values)
    t.end()
  })

  t.test(`${shell} has exactly the variables of the answer after evaluating it`, (t) => {
    const urls = fc.sample(nasty, 25)
    for (const url of urls) {
      const env = { PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: `${url}x` }
      writeFileSync(join(directory, 'answer'), renderShell(format, env))
      const setBefore = shell === 'fish' ? 'set -gx PREFECT_API_KEY old' : 'export PREFECT_API_KEY=old'
      const show = 'printf \'%s\\0\' "$PREFECT_API_URL" "$PREFECT_API_AUTH_STRING" "<$PREFECT_API_KEY>"'
      const outcome = shell === 'fish' ? "; printf '%s\\0' $status" : "; printf '%s\\0' $?"
      const seen = evaluated(shell, `${setBefore}\n${capture(outcome)}`, show)
      t.same(seen, ['0', url, `${url}x`, '<>'])
    }
    t.end()
  })

  t.test(`${shell} fails on the failure line, says the code, and does nothing else`, (t) => {
    for (const code of ['login_required', 'internal'] as const) {
      writeFileSync(join(directory, 'answer'), failureLine(format, code))
      const { status, stdout, stderr } = spawnSync(shell, ['-c', capture('')], {
        cwd: directory,
        encoding: 'utf8',
      })
      t.same({ status, stdout, stderr }, { status: 1, stdout: '', stderr: `prefect-auth: ${code}\n` })
    }
    t.end()
  })
}

t.test('runs none of those strings', (t) => {
  t.notOk(existsSync(join(directory, 'owned')))
  t.end()
})

t.test('without quoting, a value runs as code', (t) => {
  const naive = (value: string) => `export PREFECT_API_URL="${value}"`
  t.same(evaluated('sh', naive('$(printf owned)'), 'printf \'%s\\0\' "$PREFECT_API_URL"'), ['owned'])
  t.same(
    evaluated(
      'sh',
      renderShell('sh', { PREFECT_API_URL: '$(printf owned)' }),
      'printf \'%s\\0\' "$PREFECT_API_URL"',
    ),
    ['$(printf owned)'],
  )
  t.end()
})

t.test('sets the variables even without the quotes around "$(curl …)"', (t) => {
  writeFileSync(
    join(directory, 'answer'),
    renderShell('sh', { PREFECT_API_URL: 'http://a', PREFECT_API_KEY: 'k' }),
  )
  const script = 'eval $(cat answer)'
  t.same(evaluated('sh', script, 'printf \'%s\\0\' "$PREFECT_API_URL" "$PREFECT_API_KEY"'), ['http://a', 'k'])
  t.end()
})

t.test("writes one PowerShell literal per value, by its tokenizer's rules", (t) => {
  fc.assert(
    fc.property(nasty, (value) => {
      const quoted = quotePowershell(value)
      return !/[\r\n]/.test(quoted) && readPowershell(quoted) === value
    }),
  )
  t.equal(quotePowershell("it's ‘so’"), "'it''s ‘‘so’’'")
  t.equal(quotePowershell('a\nb'), "('a' + [char]10 + 'b')")
  t.equal(
    renderShell('powershell', { PREFECT_API_URL: 'http://a' }).split('\n')[1],
    'Remove-Item Env:PREFECT_API_KEY -ErrorAction SilentlyContinue',
  )
  t.equal(failureLine('powershell', 'login_required'), "throw 'prefect-auth: login_required'\n")
  t.end()
})

/** Reads what `quotePowershell` wrote as PowerShell does: any of five quotes ends the literal unless doubled. */
function readPowershell(text: string): string {
  const isQuote = (character: string | undefined) => character !== undefined && "'‘’‚‛".includes(character)
  const expression = text.startsWith('(') ? text.slice(1, -1) : text
  let value = ''
  let at = 0
  for (;;) {
    if (!isQuote(expression[at])) throw new Error(`no literal at ${at}`)
    at += 1
    while (!isQuote(expression[at]) || isQuote(expression[at + 1])) {
      if (isQuote(expression[at])) at += 1
      value += expression[at]
      at += 1
    }
    at += 1
    const joint = /^ \+ \[char\](10|13) \+ /.exec(expression.slice(at))
    if (joint === null) break
    value += String.fromCharCode(Number(joint[1]))
    at += joint[0].length
  }
  if (at !== expression.length) throw new Error('code after the literal')
  return value
}

t.test('never lets a value add a variable or a line to a dotenv file', (t) => {
  const stays = fc.property(nasty, (value) => {
    const text = renderShell('dotenv', { PREFECT_API_URL: value })
    const names = Object.keys(parseEnv(text))
    return text.split('\n').length === 2 && names.length === 1 && names[0] === 'PREFECT_API_URL'
  })
  t.notOk(fc.check(stays).failed)
  const naive = fc.property(nasty, (value) => `PREFECT_API_URL="${value}"\n`.split('\n').length === 2)
  t.ok(fc.check(naive, { numRuns: 1000 }).failed, 'the strings do break out of careless quotes')
  t.end()
})

t.test('writes dotenv files that Node and a shell read the same way', (t) => {
  const plain = ['https://api.prefect.cloud/api/accounts/a/workspaces/b', 'pnu_abc', 'user:pa ss$#!"word', '']
  for (const value of plain) {
    const text = renderShell('dotenv', { PREFECT_API_URL: value })
    t.equal(parseEnv(text).PREFECT_API_URL, value)
    t.same(evaluated('sh', text, 'printf \'%s\\0\' "$PREFECT_API_URL"'), [value])
  }
  const withQuote = `it's $HOME "and" \\ more`
  t.same(evaluated('sh', `X=${quoteDotenv(withQuote)}`, 'printf \'%s\\0\' "$X"'), [withQuote])
  t.equal(quoteDotenv('pnu_abc'), 'pnu_abc', 'docker --env-file would keep quotes')
  t.end()
})

t.test('rejects a value that an environment variable cannot hold', (t) => {
  t.throws(() => renderShell('sh', { PREFECT_API_URL: 'http://a\0b' }), { code: 'api_url_invalid' })
  t.end()
})

t.test('has only plain letters in error codes, which go into failure lines unquoted', (t) => {
  for (const code of Object.keys(ERROR_CODES)) if (!/^[a-z_]+$/.test(code)) t.fail(code)
  t.pass('all of them')
  t.end()
})

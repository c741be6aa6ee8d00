/** Transcripts of the commands that renew and rotate keys. */
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, type Reply, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { FINGERPRINT, KEY } from '../fixtures/wire-samples.js'

const cli = await buildCli(t)
const key = { ...KEY, expires_at: '2026-12-20T10:00:00Z', renews_at: '2026-12-09T10:00:00Z' }
const renewed = { json: { profile: 'cloud', outcome: 'renewed', key } }
const rotated = {
  json: {
    profile: 'bot',
    service_account: 'deployer',
    key: { ...KEY, expires_at: undefined },
    old_key_expires_at: '2026-11-21T10:00:00Z',
  },
}

const profiles = { json: { file: { path: '/p', state: 'good' }, active: 'cloud', profiles: [] } }

interface Row {
  readonly args: readonly string[]
  readonly reply: Reply
  readonly asks: readonly [string, unknown]
  readonly code?: number
  readonly stdout: RegExp
  readonly stderr?: RegExp
}

const table: readonly Row[] = [
  {
    args: ['renew'],
    reply: { json: { profile: 'cloud', outcome: 'not_due', key } },
    asks: ['POST /v1/keys/cloud/renew', { if_due: true }],
    stdout: new RegExp(
      `^Not due yet: profile cloud, key ${FINGERPRINT}; it expires .*20.*, to be renewed on .*\n$`,
    ),
  },
  {
    args: ['renew', '--now'],
    reply: renewed,
    asks: ['POST /v1/keys/cloud/renew', { if_due: false }],
    stdout: new RegExp(`^Renewed: profile cloud, key ${FINGERPRINT}; it expires `),
  },
  {
    args: ['renew', '--now', '--json'],
    reply: renewed,
    asks: ['POST /v1/keys/cloud/renew', { if_due: false }],
    stdout: /^\{[\s\S]*"outcome": ?"renewed"/,
  },
  {
    args: ['renew', '--now'],
    reply: problem('key_minting_refused', 'denied', 403, 'Prefect does not let this key make another'),
    asks: ['POST /v1/keys/cloud/renew', { if_due: false }],
    code: 1,
    stdout: /^$/,
    stderr: /prefect-auth: .*does not let this key make another \(key_minting_refused\)/,
  },
  {
    args: ['renew'],
    reply: problem('prefect_unreachable', 'upstream', 502, 'no answer from Prefect'),
    asks: ['POST /v1/keys/cloud/renew', { if_due: true }],
    code: 5,
    stdout: /^$/,
    stderr: /prefect_unreachable/,
  },
  {
    args: ['keys', 'rotate-service-account', 'deployer', '-p', 'bot'],
    reply: rotated,
    asks: ['POST /v1/keys/rotate-service-account', { profile: 'bot', name: 'deployer' }],
    stdout:
      /^Rotated: profile bot has a new key of deployer \(.*\); it never expires\nThe old key works until 2026-11-21 10:00.* UTC\n$/,
  },
  {
    args: [
      ...['keys', 'rotate-service-account', 'deployer', '-p', 'bot', '--owner', 'cloud'],
      ...['--old-key-lives', '2h', '--expires-in', '90d'],
    ],
    reply: rotated,
    asks: [
      'POST /v1/keys/rotate-service-account',
      {
        profile: 'bot',
        name: 'deployer',
        owner_profile: 'cloud',
        old_key_lives_s: 7_200,
        expires_in_s: 7_776_000,
      },
    ],
    stdout: /^Rotated/,
  },
]

t.test('requests, prints and exits as in the transcript', { jobs: 4 }, async (t) => {
  for (const { args, reply, asks, code = 0, stdout, stderr = /^/ } of table) {
    const [route, body] = asks
    void t.test(`${args.join(' ')}: ${code}`, async (t) => {
      const daemon = await startScriptedDaemon(t, { 'GET /v1/profiles': profiles, [route]: reply })
      t.match(await cli.run(args, { env: daemon.env }), { code, stdout, stderr })
      const last = daemon.asked.at(-1)
      t.same([`${last?.method} ${last?.path}`, last?.body], [route, body])
    })
  }
})

t.test('rejects an option that is not a duration', async (t) => {
  for (const option of ['--old-key-lives', '--expires-in']) {
    const outcome = await cli.run(['keys', 'rotate-service-account', 'x', option, 'soon'], { env: {} })
    t.match(outcome, { code: 2, stdout: '', stderr: new RegExp(`${option}.*like 30m, 8h or 90d`) })
  }
})

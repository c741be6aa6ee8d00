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
    asks: ['POST /v1/service-accounts/deployer/rotate', { profile: 'bot' }],
    stdout:
      /^Rotated: profile bot has a new key of deployer \(.*\); it never expires\nThe old key works until 2026-11-21 10:00.* UTC\n$/,
  },
  {
    args: [
      ...['service-account', 'rotate', 'deployer', '-p', 'bot', '--owner', 'cloud'],
      ...['--old-key-lives', '2h', '--expires-in', '90d'],
    ],
    reply: rotated,
    asks: [
      'POST /v1/service-accounts/deployer/rotate',
      {
        profile: 'bot',
        owner_profile: 'cloud',
        old_key_lives_s: 7_200,
        expires_in_s: 7_776_000,
      },
    ],
    stdout: /^Rotated/,
  },
  {
    args: [
      'service-account',
      'create',
      'ci',
      '-p',
      'bot',
      '--owner',
      'cloud',
      '--role',
      'none',
      '--expires',
      'never',
    ],
    reply: {
      status: 201,
      json: { profile: 'bot', service_account: 'ci', key: { ...KEY, expires_at: undefined } },
    },
    asks: ['POST /v1/service-accounts', { profile: 'bot', name: 'ci', owner_profile: 'cloud', role: null }],
    stdout: /^Created: profile bot has the key of service account ci \(sha256:.*\); it never expires\n$/,
  },
  {
    args: ['service-account', 'create', 'ci', '-p', 'bot', '--expires', '2099-01-31', '--role', 'Developer'],
    reply: { status: 201, json: { profile: 'bot', service_account: 'ci', key } },
    asks: [
      'POST /v1/service-accounts',
      { profile: 'bot', name: 'ci', expires_at: '2099-01-31T00:00:00.000Z', role: 'Developer' },
    ],
    stdout: /^Created: .*; it expires 2026-12-20\n$/,
  },
  {
    args: ['service-account', 'ls', '-p', 'cloud'],
    reply: {
      json: {
        profile: 'cloud',
        account_id: 'a',
        service_accounts: [
          { id: 'b1', name: 'ci', role: 'Member', key: { id: 'k', name: 'ci' }, profiles: ['bot', 'x'] },
          { id: 'b2', name: 'bare', profiles: [] },
        ],
      },
    },
    asks: ['GET /v1/service-accounts', undefined],
    stdout: /^NAME .*\nci +never +bot, x +Member +b1\nbare +no key +- +- +b2\n$/,
  },
  {
    args: ['service-account', 'delete', 'ci', '--yes'],
    reply: { json: { id: 'b1', name: 'ci', outcome: 'deleted' } },
    asks: ['DELETE /v1/service-accounts/ci', undefined],
    stdout: /^Service account ci \(b1\) deleted, with all its keys\n$/,
  },
  {
    args: ['workspace', 'create', 'prefect/fresh', '--name', 'Fresh air', '-p', 'cloud'],
    reply: {
      status: 201,
      json: {
        profile: 'cloud',
        workspace: { handle: 'prefect/fresh', account_id: 'a', workspace_id: 'w', current: false },
      },
    },
    asks: ['POST /v1/profiles/cloud/workspaces', { account: 'prefect', handle: 'fresh', name: 'Fresh air' }],
    stdout: /^Workspace prefect\/fresh created\n$/,
    stderr: /^to use it: prefect-auth workspace set prefect\/fresh --profile cloud\n$/,
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

t.test(
  'a service account needs a profile that uses its key, also where PREFECT_PROFILE is set',
  async (t) => {
    const outcome = await cli.run(['service-account', 'create', 'ci'], { env: { PREFECT_PROFILE: 'cloud' } })
    t.match(outcome, {
      code: 2,
      stdout: '',
      stderr: /\ntry: prefect-auth service-account create NAME --profile PROFILE\n$/,
    })
  },
)

/** OpenBao as the store of a share: a real one, over TLS, with every way to log in. */
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import type { VaultAuth, VaultSettings } from '../../src/config/shares.js'
import { createReadSecret } from '../../src/share/secret-source.js'
import type { ShareStore } from '../../src/share/store.js'
import { openVaultStore } from '../../src/share/vault-store.js'
import { systemClock } from '../../src/std/clock.js'
import { createAppRole, type OpenBao, startOpenBao, teamPolicy } from './fixtures/open-bao.js'
import { checkStore } from './fixtures/store-contract.js'

const env: Record<string, string> = {}

const failing = async (work: Promise<unknown>): Promise<{ code: string; message: string }> => {
  try {
    await work
  } catch (error) {
    if (isBrokerError(error)) return { code: error.code, message: error.message }
    throw error
  }
  return { code: 'none', message: '' }
}

function storeAt(t: Test, settings: VaultSettings): ShareStore {
  const store = openVaultStore({
    settings,
    readSecret: createReadSecret(env, { get: async () => undefined }),
    clock: systemClock(),
  })
  t.teardown(() => store.close())
  return store
}

function tokenOf(bao: OpenBao, name = 'ROOT'): VaultAuth {
  env[name] = bao.rootToken
  return { kind: 'token', token: { kind: 'env', name } }
}

const settingsOf = (bao: OpenBao, auth: VaultAuth, path = 'team/prod'): VaultSettings => ({
  ...{ url: bao.tlsUrl, caFile: bao.caFile, mount: 'secret', path, auth },
})

async function approle(bao: OpenBao, role: string, rights: string, facts: Record<string, unknown> = {}) {
  const { roleId, secretPath } = await createAppRole(bao, role, rights, facts)
  const secretId = { kind: 'file', path: secretPath } as const
  return { auth: { kind: 'approle', mount: 'approle', roleId, secretId } as const, secretPath }
}

t.setTimeout(120_000)

t.test('with a real OpenBao', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return
  await bao.admin('POST', 'sys/auth/approle', { type: 'approle' })
  await bao.admin('POST', 'sys/auth/cert', { type: 'cert' })
  await bao.admin('POST', 'secret/config', { cas_required: true })
  const root = tokenOf(bao)

  await t.test('it is a store like any other', async (t) => {
    await checkStore(t, (name) => storeAt(t, settingsOf(bao, root, `contract/${name} with a space`)))
  })

  await t.test('readers read, rotators write, and the policy keeps them apart', async (t) => {
    const reader = storeAt(t, settingsOf(bao, (await approle(bao, 'reader', '"read"')).auth))
    const rotator = storeAt(
      t,
      settingsOf(bao, (await approle(bao, 'rotator', '"read", "create", "update"')).auth),
    )
    t.not(await rotator.write({ n: 1 }, undefined), 'conflict')
    const read = await reader.read()
    t.match(read, { data: { n: 1 } })
    t.equal((await failing(reader.write({ n: 2 }, read?.version))).code, 'share_store_denied')
    t.match(await reader.examine(), { may: { read: true, write: false }, isTokenRenewable: true })
    t.match(await rotator.examine(), { may: { read: true, write: true }, skewMs: Number })
  })

  await t.test('whether the store requires versions is known where the policy lets us look', async (t) => {
    t.match(await storeAt(t, settingsOf(bao, root)).examine(), { requiresVersion: true })
  })

  await t.test('a revoked token is replaced by a new login', async (t) => {
    const { auth } = await approle(bao, 'again', '"read"')
    const store = storeAt(t, settingsOf(bao, auth))
    await store.read()
    await bao.admin('POST', 'sys/leases/revoke-prefix/auth/approle/login')
    await bao.admin('POST', 'auth/token/tidy')
    t.match(await store.read(), { data: Object })
  })

  await t.test(
    'a token that lives for seconds is renewed, and got again after its last renewal',
    async (t) => {
      const facts = { token_ttl: '2s', token_max_ttl: '4s' }
      const store = storeAt(t, settingsOf(bao, (await approle(bao, 'short', '"read"', facts)).auth))
      for (const until = Date.now() + 7000; Date.now() < until; ) {
        await store.read()
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
      t.pass('every read was answered')
    },
  )

  await t.test('a secret id that is not accepted is named as what it is', async (t) => {
    const { auth, secretPath } = await approle(bao, 'wrong', '"read"')
    await writeFile(secretPath, 'not-a-secret-id\n')
    const failure = await failing(storeAt(t, settingsOf(bao, auth)).read())
    t.equal(failure.code, 'share_store_login')
    t.notMatch(failure.message, 'not-a-secret-id')
  })

  await t.test('a token file that somebody replaces is read again', async (t) => {
    const path = join(bao.dir, 'token')
    await writeFile(path, 'hvs.expired-long-ago\n')
    const store = storeAt(t, settingsOf(bao, { kind: 'token', token: { kind: 'file', path } }))
    t.equal((await failing(store.read())).code, 'share_store_login')
    await writeFile(path, `${bao.rootToken}\n`)
    t.match(await store.read(), { data: Object })
    await writeFile(path, 'hvs.revoked\n')
    t.equal((await failing(store.read())).code, 'share_store_login')
  })

  await t.test('a certificate logs in', async (t) => {
    const { execFileSync } = await import('node:child_process')
    const certificate = execFileSync('cat', [bao.clientCert.certFile]).toString()
    await bao.admin('PUT', 'sys/policies/acl/by-cert', { policy: teamPolicy('"read"') })
    await bao.admin('POST', 'auth/cert/certs/machine', { certificate, token_policies: ['by-cert'] })
    const auth: VaultAuth = { kind: 'cert', mount: 'cert', ...bao.clientCert }
    t.match(await storeAt(t, settingsOf(bao, auth)).read(), { data: Object })
  })

  await t.test('Kubernetes: the token of the pod goes to the store as its documentation says', async (t) => {
    const seen: string[] = []
    const double = createServer((request, response) => {
      let body = ''
      request.on('data', (piece) => (body += String(piece)))
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} ${body}`)
        const isLogin = request.url === '/v1/auth/kubernetes/login'
        const auth = { client_token: 'hvs.k8s', lease_duration: 60, renewable: true }
        response.setHeader('content-type', 'application/json')
        response.statusCode = isLogin ? 200 : 404
        response.end(JSON.stringify(isLogin ? { auth } : { errors: [] }))
      })
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => double.once('listening', resolve))
    t.teardown(() => double.close())
    const address = double.address()
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
    env.JWT = 'header.claims.signature'
    const auth: VaultAuth = {
      kind: 'kubernetes',
      mount: 'kubernetes',
      role: 'fleet',
      jwt: { kind: 'env', name: 'JWT' },
    }
    t.equal(await storeAt(t, { url, mount: 'secret', path: 'team/prod', auth }).read(), undefined)
    t.strictSame(seen, [
      'POST /v1/auth/kubernetes/login {"role":"fleet","jwt":"header.claims.signature"}',
      'GET /v1/secret/data/team/prod ',
    ])
  })

  await t.test('a deleted document is not one that never was', async (t) => {
    const store = storeAt(t, settingsOf(bao, root, 'team/deleted'))
    await store.write({ n: 1 }, undefined)
    await bao.admin('DELETE', 'secret/data/team/deleted')
    t.equal((await failing(store.read())).code, 'share_document_deleted')
    t.equal(await store.write({ n: 1 }, undefined), 'conflict', 'and nothing is written over it')
  })

  await t.test('a restored store has other versions than the same numbers before', async (t) => {
    const store = storeAt(t, settingsOf(bao, root, 'team/restored'))
    await store.write({ n: 1 }, undefined)
    const before = await store.read()
    await bao.admin('DELETE', 'secret/metadata/team/restored')
    await store.write({ n: 1 }, undefined)
    t.not((await store.read())?.version, before?.version)
  })

  await t.test('bad settings are named', async (t) => {
    const table: readonly (readonly [string, Partial<VaultSettings>, string, RegExp])[] = [
      ['no such engine', { mount: 'nowhere' }, 'share_store_refused', /no handler|route/],
      [
        'an authority that nobody knows',
        { caFile: bao.clientCert.certFile },
        'share_store_unreachable',
        /ca_file/,
      ],
      ['no file of certificates', { caFile: '/nowhere.pem' }, 'share_store_login', /nowhere\.pem/],
      ['nothing listens', { url: 'http://127.0.0.1:9' }, 'share_store_unreachable', /nothing listens/],
      [
        'plain HTTP to a TLS port',
        { url: bao.tlsUrl.replace('https', 'http') },
        'share_store_unreachable',
        /./,
      ],
    ]
    for (const [title, change, code, message] of table) {
      const failure = await failing(storeAt(t, { ...settingsOf(bao, root), ...change }).read())
      t.match(failure, { code, message }, title)
      t.notMatch(failure.message, bao.rootToken)
    }
    const old = 'sys/mounts/old'
    await bao.admin('POST', old, { type: 'kv', options: { version: '1' } })
    const versionOne = storeAt(t, { ...settingsOf(bao, root), mount: 'old' })
    t.equal((await failing(versionOne.write({}, undefined))).code, 'share_store_refused', 'version 1')
  })

  await t.test('a sealed store is named, and goes on once it is unsealed', async (t) => {
    const store = storeAt(t, settingsOf(bao, root))
    await store.read()
    await bao.seal()
    t.equal((await failing(store.read())).code, 'share_store_sealed')
    t.equal((await failing(storeAt(t, settingsOf(bao, root)).read())).code, 'share_store_sealed')
    await bao.unseal()
    t.match(await store.read(), { data: Object })
  })
})

t.test('a redirect is not followed: the token goes nowhere else', async (t) => {
  const hits: string[] = []
  const elsewhere = createServer((request, response) => {
    hits.push(String(request.url))
    response.end('{}')
  }).listen(0, '127.0.0.1')
  const store = createServer((_, response) => {
    const address = elsewhere.address()
    const port = typeof address === 'object' ? address?.port : 0
    response.writeHead(307, { location: `http://127.0.0.1:${port}/v1/secret/data/team/prod` }).end()
  }).listen(0, '127.0.0.1')
  await Promise.all(
    [elsewhere, store].map((server) => new Promise((resolve) => server.once('listening', resolve))),
  )
  t.teardown(() => [elsewhere, store].map((server) => server.close()))
  const address = store.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  env.TOKEN = 'hvs.secret'
  const auth: VaultAuth = { kind: 'token', token: { kind: 'env', name: 'TOKEN' } }
  const failure = await failing(storeAt(t, { url, mount: 'secret', path: 'team/prod', auth }).read())
  t.match(failure, { code: 'share_store_unreachable', message: /another address/ })
  t.strictSame(hits, [])
})

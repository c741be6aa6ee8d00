import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startDaemon } from '../../src/daemon/daemon.js'
import { openState } from '../../src/daemon/state.js'
import { promoted, withKey } from '../../src/keys/ledger.js'
import { ensurePrivateDirectory } from '../../src/os/private-files.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { writeVaultChoice } from '../../src/vault/choice.js'
import { daemonOptions } from '../fixtures/daemon-options.js'
import { needsSecretService } from '../fixtures/secret-service.js'

const COUNT = 26
const CLOUD = 'https://api.prefect.cloud/api'

t.test('a keyring that hangs at the start delays its own profiles only', needsSecretService(), async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'pab-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const options = daemonOptions(root, { 'vault.backend': 'keychain' })
  const { stateDir, profilesFile } = options.paths
  const clock = systemClock()
  await ensurePrivateDirectory(stateDir)
  const store = '11111111-1111-4111-8111-111111111111'
  await writeVaultChoice(stateDir, { backend: 'keychain', store, because: 'a test' }, clock.now())
  const { ledger } = await openState({ stateDir, clock, log: silentLog() })
  const tables = ['active = "server"\n[profiles.server]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n']
  for (let at = 0; at < COUNT; at += 1) {
    const [item, profile] = [`key:p${at}`, `p${at}`]
    const issuedAt = clock.now()
    const record = { fingerprint: 'sha256:0', origin: 'pasted', issuedAt, handedOut: true } as const
    await ledger.update((current) =>
      promoted(
        withKey(current, { ...record, item, profile, cloudApiUrl: CLOUD }),
        item,
        { patch: { owner: { kind: 'user', id: 'u', handle: 'terry' } } },
        issuedAt,
      ),
    )
    tables.push(`[profiles.${profile}]\nPREFECT_API_URL = "${CLOUD}/accounts/a/workspaces/w"\n`)
  }
  await writeFile(profilesFile, tables.join('\n'), { mode: 0o600 })

  // A session bus that accepts and says nothing, as one does whose programs are stopped.
  let asked = 0
  const bus = createServer(() => {
    asked += 1
  })
  const address = join(root, 'bus')
  await new Promise<void>((resolve) => bus.listen(address, resolve))
  t.after(() => bus.close())
  const env = { DBUS_SESSION_BUS_ADDRESS: `unix:path=${address}` }
  const daemon = await startDaemon({ ...options, env })
  t.after(() => daemon.close())
  t.ok(asked <= 2, `the listeners opened after ${asked} questions to the keyring`)
  const { profiles, listeners } = daemon.snapshot()
  t.match(listeners[0], { state: 'listening' })
  const outcomes = new Map(profiles.map(({ resolved, outcome }) => [resolved.name, outcome]))
  t.match(outcomes.get('server'), { kind: 'served' })
  for (let at = 0; at < COUNT; at += 1) {
    t.match(outcomes.get(`p${at}`), { kind: 'refused', error: { code: /^vault_(timeout|locked)$/ } })
  }
})

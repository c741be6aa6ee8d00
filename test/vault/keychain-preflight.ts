import t from 'tap'
import type { ProgramResult } from '../../src/os/run-program.js'
import { systemClock } from '../../src/std/clock.js'
import { createPreflight, readFinding } from '../../src/vault/keychain-trouble.js'
import { needsSecretService, startSecretService } from '../fixtures/secret-service.js'

const clock = systemClock()
const real = needsSecretService()

const said = (stderr: string): ProgramResult => ({ kind: 'exited', code: 1, stdout: '', stderr })
const FINDINGS: readonly (readonly [result: ProgramResult, state: string])[] = [
  [{ kind: 'exited', code: 0, stdout: 'b false\n', stderr: '' }, 'ready'],
  [{ kind: 'exited', code: 0, stdout: 'b true\n', stderr: '' }, 'locked'],
  [{ kind: 'exited', code: 1, stdout: 'b false\n', stderr: '' }, 'failed'],
  [said('Failed to connect to bus: No such file or directory'), 'no_bus'],
  [said('Failed to set bus address: $DBUS_SESSION_BUS_ADDRESS and $XDG_RUNTIME_DIR not defined'), 'no_bus'],
  [said('…: The name org.freedesktop.secrets was not provided by any .service files'), 'no_provider'],
  [said('…: Object does not exist at path “/org/freedesktop/secrets/collection/login”'), 'no_keyring'],
  [said('Failed to get property Locked on interface …: Connection timed out'), 'timed_out'],
  [said('something new'), 'failed'],
  [{ kind: 'timed_out' }, 'timed_out'],
  [{ kind: 'crashed', signal: 'SIGSEGV', stderr: '' }, 'failed'],
  [{ kind: 'not_started', reason: 'spawn EAGAIN' }, 'failed'],
]
t.test('maps every result of busctl to a state', async (t) => {
  for (const [result, state] of FINDINGS) t.match(readFinding(result), { state }, JSON.stringify(result))
})

t.test('does not guess without busctl', async (t) => {
  const preflight = createPreflight({ env: {}, deadlineMs: 1000, clock, programs: ['/nowhere/busctl'] })
  t.match(await preflight(), { state: 'failed', detail: /nowhere/ })
})

t.test('distinguishes the states of a real keyring', real, async (t) => {
  const service = await startSecretService()
  t.teardown(() => service.stop())
  const look = (deadlineMs = 20_000) => createPreflight({ env: service.env, deadlineMs, clock })()
  t.match(await look(), { state: 'ready' })
  service.lock()
  t.match(await look(), { state: 'locked' })
  service.hang()
  t.match(await look(500), { state: 'timed_out' })
  await service.kill()
  t.match(await look(), { state: 'no_provider' })
})

t.test('reports that a daemon started by the bus has no keyring yet', real, async (t) => {
  const service = await startSecretService({ provider: 'activated' })
  t.teardown(() => service.stop())
  t.match(await createPreflight({ env: service.env, deadlineMs: 20_000, clock })(), { state: 'no_keyring' })
})

t.test('reports a missing session bus', real, async (t) => {
  t.match(await createPreflight({ env: {}, deadlineMs: 20_000, clock })(), { state: 'no_bus' })
})

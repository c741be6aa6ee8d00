/** The service as systemd user units: socket activated, started at login. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { findOutdated, removeFiles, writeFiles } from './files.js'
import type { RunTool } from './manager.js'
import { resolveServicePlaces, SERVICE, SOCKET, TCP_SOCKET, TIMER, UNITS } from './places.js'
import { planSystemd, type ServiceFacts } from './plan.js'
import type { ManagerDeps, ServiceManager } from './service-manager.js'
import { readSystemdState } from './systemd-state.js'

export function createSystemd({ run, template, terminal }: ManagerDeps): ServiceManager {
  const places = resolveServicePlaces(terminal)
  const state = () => readSystemdState(run, places.unitDir, terminal.uid)
  const plan = (facts: ServiceFacts) => planSystemd(facts, template)
  return {
    name: 'systemd user service',
    log: 'journalctl --user -u prefect-authd -f',
    plan,
    state,
    async install(facts, isStale) {
      const before = await state()
      if (before.state === 'unreachable') failWith(noManager(before.problem ?? ''))
      const files = plan(facts)
      const written = await findOutdated(files)
      await writeFiles(written)
      const isTcpDropped = facts.port === 'off' && (await dropTcp(run, places.unitDir))
      await must(run, 'daemon-reload')
      await systemctl(run, 'reset-failed', ...UNITS)
      const sockets = [SOCKET, ...(facts.port === 'off' ? [] : [TCP_SOCKET])]
      await must(run, 'enable', '--quiet', ...sockets, SERVICE)
      const hasNewSockets = written.some(({ path }) => path.endsWith('.socket')) || before.tcp === 'failed'
      if (hasNewSockets || before.state === 'stopped' || before.state === 'failed') {
        await systemctl(run, 'stop', SOCKET, TCP_SOCKET, SERVICE)
      }
      await must(run, 'start', SOCKET)
      // A taken port costs only TCP: the daemon says who has it.
      if (facts.port !== 'off') await systemctl(run, 'start', TCP_SOCKET)
      await systemctl(run, written.some(({ path }) => path.endsWith('.timer')) ? 'restart' : 'start', TIMER)
      const isNew = written.length > 0 || isTcpDropped || isStale
      await must(run, isNew ? 'restart' : 'start', SERVICE)
      return written
    },
    async uninstall() {
      await systemctl(run, 'disable', '--quiet', SOCKET, TCP_SOCKET, SERVICE)
      await systemctl(run, 'stop', ...UNITS)
      const removed = await removeUnits(places)
      await systemctl(run, 'daemon-reload')
      await systemctl(run, 'reset-failed', ...UNITS)
      return removed
    },
  }
}

function noManager(problem: string) {
  return {
    code: 'service_manager_missing',
    kind: 'unavailable',
    detail: `this session has no systemd user manager: ${problem}`,
    hint: 'log in as this user over ssh or a desktop, or: sudo loginctl enable-linger "$USER"      (containers, WSL: docs/service.md)',
  } as const
}

function systemctl(run: RunTool, ...args: readonly string[]) {
  return run('systemctl', '--user', ...args)
}

async function must(run: RunTool, ...args: readonly string[]): Promise<void> {
  const { isDone, complaint } = await systemctl(run, ...args)
  if (isDone) return
  failWith({
    code: 'service_failed',
    kind: 'unavailable',
    detail: `systemctl --user ${args.join(' ')}: ${complaint}`,
    hint: 'systemctl --user status prefect-authd.service prefect-authd.socket',
  })
}

/** Whether there was one. */
async function dropTcp(run: RunTool, unitDir: string): Promise<boolean> {
  const unit = join(unitDir, TCP_SOCKET)
  if (!existsSync(unit)) return false
  await systemctl(run, 'disable', '--quiet', '--now', TCP_SOCKET)
  await removeFiles([unit], [])
  return true
}

/** Links and stamp, too: without a manager nobody else takes them away. Of directories, those that are empty then. */
async function removeUnits(places: ReturnType<typeof resolveServicePlaces>): Promise<readonly string[]> {
  const { unitDir, launcher, stateDir, profilesFile } = places
  const wants = ['sockets.target.wants', 'default.target.wants'].map((name) => join(unitDir, name))
  const links = wants.flatMap((directory) => UNITS.map((unit) => join(directory, unit)))
  const timers = join(dirname(launcher), '..', 'systemd', 'timers')
  await removeFiles([...links, join(timers, `stamp-${TIMER}`)], [...wants, timers, dirname(timers)])
  const files = [...UNITS.map((unit) => join(unitDir, unit)), launcher]
  const directories = [dirname(launcher), unitDir, dirname(unitDir), stateDir, dirname(profilesFile)]
  return removeFiles(files, directories)
}

/** Our state, removed by name: whatever else is in its directories is somebody's, and stays. */
import { readdir, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths, type Surroundings } from '../../config/paths.js'

/** Everything that the daemon and its commands write there: docs/architecture.md, State on disk. */
const OURS =
  /^(?:(?:vault|ledger|tokens|journal|login-ports|files|starts|setup)\.json|fingerprint\.key|audit\.jsonl|authd\.log|start\.log|starting\.sock|clean-end|lock-host|code-cache|profiles\.toml)(?:[.-].*)?$/
const OUR_FOLDERS = ['vault', 'lock', 'run']
/** Beside the socket. */
const RUNNING = /^(?:authd|callers)\.sock(?:\..*)?$|^generation(?:\..*)?$/

/** Resolves with what is left in the directories. Fails with `setup_write_failed`. Nothing may be running. */
export async function purgeState(around: Surroundings): Promise<readonly string[]> {
  const { stateDir, socket } = resolvePaths(around)
  const state = await readNames(stateDir)
  for (const name of state.filter((one) => OURS.test(one))) await remove(join(stateDir, name))
  for (const name of OUR_FOLDERS) await remove(join(stateDir, name))
  const runDir = dirname(socket)
  for (const name of (await readNames(runDir)).filter((one) => RUNNING.test(one)))
    await remove(join(runDir, name))
  const left = await Promise.all([stateDir, runDir].map(leftIn))
  return [...new Set(left.flat())]
}

async function leftIn(folder: string): Promise<readonly string[]> {
  await rmdir(folder).catch(() => undefined)
  return (await readNames(folder)).map((name) => join(folder, name))
}

async function readNames(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => [])
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch((error: unknown) =>
    failWith({
      code: 'setup_write_failed',
      kind: 'unavailable',
      detail: `cannot remove ${path}: ${error instanceof Error ? error.message : String(error)}`,
      hint: 'prefect-auth uninstall --purge      (again, when it can be removed)',
    }),
  )
}

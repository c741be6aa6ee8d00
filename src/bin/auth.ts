/**
 * The program `prefect-auth`: `env`, `exec` and `get` run at once, everything else loads the full command line.
 *
 * It is a CommonJS script, and Node starts it for every `exec` where the sh front cannot do the work: what is imported here, and
 * what that imports at its top, is what such a start costs.
 */

import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { runEnv } from '../cli/fast/env.js'
import { runExec } from '../cli/fast/exec.js'
import { runGet } from '../cli/fast/get.js'
import type { Host } from '../cli/fast/host.js'
import { commandFirst } from '../cli/fast/options.js'
import type { Terminal } from '../cli/session.js'
import { defined } from '../std/defined.js'
import { findHome } from './home.js'
import { VERSION } from './version.js'

/** It holds `dist/`, which holds this script. */
const PACKAGE_DIR = join(__dirname, '..')
const argv = commandFirst(process.argv.slice(2))
// If the program ends before it is known, it has failed.
process.exitCode = 1
void run().then((code) => {
  process.exitCode = code
})

async function run(): Promise<number> {
  const host = createHost()
  const fast = await runFast(host)
  // All that it prints has been written; to let everything come to its own end takes longer.
  if (fast !== 'help') process.exit(fast)
  const { runCli } = await import('../cli/main.js')
  return runCli(argv, createTerminal(host))
}

async function runFast(host: Host): Promise<number | 'help'> {
  const [command, ...rest] = argv
  if (command === 'env') return runEnv(rest, host)
  if (command === 'get') return runGet(rest, host)
  if (command === 'exec') return runExec(rest, host)
  // Not run in loops, and it always starts programs.
  if (command === 'agent') return (await import('../cli/fast/agent.js')).runAgent(rest, host)
  return 'help'
}

function createHost(): Host {
  // Not in the types of Node 20.
  const found: unknown = Reflect.get(process, 'execve')
  const execve: Host['execve'] =
    typeof found === 'function'
      ? (file, args, env) => void Reflect.apply(found, process, [file, args, env])
      : undefined
  const uid = process.getuid?.()
  const host: Host = {
    // Every look into process.env asks the system.
    env: { ...process.env },
    home: findHome('prefect-auth'),
    platform: process.platform,
    ...defined({ uid, execve, folder: currentFolder() }),
    version: VERSION,
    pid: process.pid,
    parentPid: process.ppid,
    writeOut: (text) => writeAll(1, text),
    writeErr: (text) => writeAll(2, text),
    onSignal(signal, listener) {
      process.on(signal, listener)
      return () => process.off(signal, listener)
    },
    async startDaemon(transport) {
      const { startOnDemand } = await import('../cli/on-demand.js')
      const program = join(__dirname, 'authd.js')
      return startOnDemand(host, { node: process.execPath, program }, transport)
    },
  }
  return host
}

function currentFolder(): string | undefined {
  try {
    return process.cwd()
  } catch {
    return undefined
  }
}

function createTerminal(host: Host): Terminal {
  const { stdin, stdout, stderr } = process
  const { execPath } = process
  return { ...host, stdin, stdout, stderr, execPath, packageDir: PACKAGE_DIR, now: () => Date.now() }
}

/**
 * Writes all of `text` before it returns: a result must not be lost, or cut short, because the program exits. If the reader has
 * gone away, the program ends quietly, even one that follows events; if the output cannot be written, it ends with the reason.
 */
function writeAll(descriptor: number, text: string): void {
  let rest = Buffer.from(text)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest))
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      // Nobody can be told.
      if (code !== 'EAGAIN' && descriptor !== 1) return
      if (code === 'EPIPE') process.exit(0)
      if (code !== 'EAGAIN') {
        const why = code === 'ENOSPC' ? 'no space is left there' : String(code ?? error)
        writeAll(2, `prefect-auth: cannot write the output: ${why}\n`)
        process.exit(1)
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

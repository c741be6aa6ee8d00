/** The program `prefect-auth`: `env`, `exec` and `get` take the fast path, everything else loads the full command line. */

import { readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { isatty } from 'node:tty'
import { fileURLToPath } from 'node:url'
import type { Host } from '../cli/fast/host.js'
import { commandFirst } from '../cli/fast/options.js'
import type { Terminal } from '../cli/session.js'
import { defined } from '../std/defined.js'
import { findHome } from './home.js'

const PACKAGE = findPackage()
const argv = commandFirst(process.argv.slice(2))
const [command, ...rest] = argv
process.exitCode = await run()

async function run(): Promise<number> {
  const host = createHost()
  const fast = await runFast(host)
  if (fast !== 'help') return fast
  const { runCli } = await import('../cli/main.js')
  return runCli(argv, createTerminal(host))
}

async function runFast(host: Host): Promise<number | 'help'> {
  if (command === 'env') return (await import('../cli/fast/env.js')).runEnv(rest, host)
  if (command === 'get') return (await import('../cli/fast/get.js')).runGet(rest, host)
  if (command === 'exec') return (await import('../cli/fast/exec.js')).runExec(rest, host)
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
    env: process.env,
    home: findHome('prefect-auth'),
    platform: process.platform,
    ...defined({ uid, execve, folder: currentFolder() }),
    version: PACKAGE.version,
    pid: process.pid,
    parentPid: process.ppid,
    writeOut: (text) => writeAll(1, text),
    writeErr: (text) => writeAll(2, text),
    hasTerminal: isatty(0) || isatty(1) || isatty(2),
    onSignal(signal, listener) {
      process.on(signal, listener)
      return () => process.off(signal, listener)
    },
    async startDaemon(transport) {
      const { startOnDemand } = await import('../cli/on-demand.js')
      const program = join(PACKAGE.dir, 'dist', 'authd.js')
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
  return { ...host, stdin, stdout, stderr, execPath, packageDir: PACKAGE.dir, now: () => Date.now() }
}

/** Our package: one directory above `dist/`, two above `src/bin/`. */
function findPackage(): { readonly dir: string; readonly version: string } {
  for (const above of ['..', '../..']) {
    try {
      const dir = fileURLToPath(new URL(above, import.meta.url))
      const text = readFileSync(join(dir, 'package.json'), 'utf8')
      return { dir, version: /"version": *"([^"]+)"/.exec(text)?.[1] ?? 'unknown' }
    } catch {}
  }
  return { dir: '.', version: 'unknown' }
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

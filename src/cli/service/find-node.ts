/** Finds the name under which this Node will still be there after its next upgrade, and which flags it knows. */
import { realpath } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { runProgram } from '../../os/run-program.js'
import type { Clock } from '../../std/clock.js'
import { GUARDED_FLAGS } from './templates.js'

/** `/opt/homebrew/bin/node` rather than the versioned directory that it points into; else `execPath` itself. */
export async function findStableNode(execPath: string, path: string | undefined): Promise<string> {
  const us = await realpath(execPath).catch(() => execPath)
  for (const directory of absoluteDirectories(path)) {
    const candidate = join(directory, 'node')
    if ((await realpath(candidate).catch(() => undefined)) === us) return candidate
  }
  return execPath
}

/** The directories of a `PATH`; relative ones would mean something else to a service. */
export function absoluteDirectories(path: string | undefined): readonly string[] {
  return (path ?? '').split(':').filter(isAbsolute)
}

/** Which of the flags that not every version has this Node takes: asked, not computed from its version. */
export async function findFlags(node: string, clock: Clock): Promise<readonly string[]> {
  const isKnown = await Promise.all(
    GUARDED_FLAGS.map(async (flag) => {
      const call = { file: node, args: [flag, '-e', '0'], env: {}, deadlineMs: 10_000 }
      const result = await runProgram(call, clock)
      return result.kind === 'exited' && result.code === 0
    }),
  )
  return GUARDED_FLAGS.filter((_flag, at) => isKnown[at] === true)
}

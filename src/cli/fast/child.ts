/** Finds a command as a shell does, and says whether the kernel would take it as it is. */
import { constants } from 'node:fs'
import { access, open, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

export type FoundCommand =
  | { readonly kind: 'found'; readonly file: string; readonly isForKernel: boolean }
  | { readonly kind: 'missing' }
  | { readonly kind: 'not_executable' }

/** Looks along `PATH` unless `command` holds a slash. */
export async function findCommand(command: string, path: string | undefined): Promise<FoundCommand> {
  const files = command.includes('/')
    ? [command]
    : (path ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter).map((folder) => join(folder || '.', command))
  let isSeen = false
  for (const file of files) {
    const answer = await look(file)
    if (answer === 'executable') return { kind: 'found', file, isForKernel: await isForKernel(file) }
    if (answer === 'not_executable') isSeen = true
  }
  return { kind: isSeen ? 'not_executable' : 'missing' }
}

async function look(file: string): Promise<'executable' | 'not_executable' | 'missing'> {
  try {
    if (!(await stat(file)).isFile()) return 'not_executable'
  } catch {
    return 'missing'
  }
  return (await mayRun(file)) ? 'executable' : 'not_executable'
}

function mayRun(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
}

const ELF = '\x7fELF'
const MACH_O = ['\xcf\xfa\xed\xfe', '\xca\xfe\xba\xbe']

/**
 * Whether execve would take the file: a binary, or a script whose interpreter is there. A script without its `#!`
 * line needs the shell that `spawn` falls back to; execve would leave us dead instead.
 */
async function isForKernel(file: string): Promise<boolean> {
  const head = await readHead(file)
  if (head.startsWith(ELF) || MACH_O.some((magic) => head.startsWith(magic))) return true
  const interpreter = /^#![ \t]*(\/[^\s]+)/.exec(head)?.[1]
  return interpreter !== undefined && mayRun(interpreter)
}

async function readHead(file: string): Promise<string> {
  try {
    const handle = await open(file, 'r')
    try {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(256), 0, 256, 0)
      return buffer.toString('latin1', 0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch {
    return ''
  }
}

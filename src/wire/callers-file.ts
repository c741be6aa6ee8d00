/** The header by which the command line says which profile file its caller's Prefect reads. */

export const CALLERS_FILE_HEADER = 'prefect-auth-profiles-file'

export interface CallersFile {
  /** Absolute. */
  readonly path: string
  /** What chose it, such as `PREFECT_HOME`; absent for Prefect's usual place. */
  readonly chosenBy?: string
}

export function formatCallersFile({ path, chosenBy }: CallersFile): string {
  return [path, ...(chosenBy === undefined ? [] : [chosenBy])].map(encodeURIComponent).join(' ')
}

/** `undefined` if it says nothing that can be understood. */
export function parseCallersFile(header: string): CallersFile | undefined {
  try {
    const [path = '', chosenBy] = header.split(' ').map(decodeURIComponent)
    if (!path.startsWith('/')) return undefined
    return chosenBy === undefined ? { path } : { path, chosenBy }
  } catch {
    return undefined
  }
}

/** Which of several programs is there. */
import { access, constants } from 'node:fs/promises'

/** The first of these absolute paths that we may run. */
export async function findExecutable(programs: readonly string[]): Promise<string | undefined> {
  for (const program of programs) {
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return program
  }
  return undefined
}

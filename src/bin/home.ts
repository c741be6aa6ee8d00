/** The user's home directory, or a failure that says what to set. */
import { homedir } from 'node:os'

/** Exits with code 1 if there is none: a container's user is often in no list and has no HOME. */
export function findHome(program: string): string {
  try {
    return homedir()
  } catch {
    process.stderr.write(
      `${program}: cannot find the home directory: HOME is not set, and the user ${process.getuid?.() ?? ''} is in no list of users\n  try: HOME=/A/DIRECTORY/OF/YOURS ${program}\n`,
    )
    process.exit(1)
  }
}

/** Whether a directory's disk takes writes, without writing. */

import { access, constants, statfs } from 'node:fs/promises'
import type { BrokerError } from '../base/errors.js'
import { diskFailed } from './system-error.js'

/** Why `directory` cannot be written: read-only, or full. Undefined says only that nothing is known. Never rejects. */
export async function findDiskTrouble(directory: string): Promise<BrokerError | undefined> {
  try {
    await access(directory, constants.W_OK)
    const { blocks, bavail, files, ffree } = await statfs(directory)
    // Some file systems count no blocks or no inodes.
    if ((blocks === 0 || bavail > 0) && (files === 0 || ffree > 0)) return undefined
    throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
  } catch (error) {
    return diskFailed('write', directory, error)
  }
}

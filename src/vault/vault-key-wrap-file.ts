/** No wrap at all: the data key lies in a 0600 file beside what it protects, and every status says so. */
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import type { KeyWrap } from './data-key-part.js'

const plainKey = z.strictObject({ key: z.base64().length(44) })

/** Keeps copies of single files from being useful; against a thief with the disk it does nothing. */
export function createKeyFileWrap(): KeyWrap {
  return {
    kind: 'key-file',
    atRest: 'not protected',
    async seal(key) {
      return { key: Buffer.from(key).toString('base64') }
    },
    async open(sealed) {
      const parsed = plainKey.safeParse(sealed)
      if (!parsed.success)
        throw new BrokerError('vault_corrupt', 'opening the vault: its data key is damaged')
      return Buffer.from(parsed.data.key, 'base64')
    },
  }
}

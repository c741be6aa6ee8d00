/** A vault that could not be chosen because the disk failed: every call tries again; meanwhile it is unavailable. */

import { type BrokerError, isBrokerError } from '../base/errors.js'
import { createSerial } from '../std/async.js'
import type { Vault, VaultDescription } from './vault.js'

/** `open` rejects with what every call rejects with; `failure` is what it rejected with first. */
export function createWaitingVault(
  backend: VaultDescription['backend'],
  open: () => Promise<Vault>,
  failure: BrokerError,
): Vault {
  const serial = createSerial()
  let opened: Vault | undefined
  let problem = failure
  let isClosed = false

  const require = () =>
    serial.run(async () => {
      if (isClosed) throw problem
      try {
        opened ??= await open()
        return opened
      } catch (error) {
        if (isBrokerError(error)) problem = error
        throw error
      }
    })

  return {
    describe: () =>
      opened?.describe() ?? {
        backend,
        atRest: 'not protected',
        because: 'not chosen yet',
        state: 'unavailable',
        problem: { message: problem.message, hint: problem.hint ?? 'prefect-auth doctor' },
      },
    get: async (item) => (await require()).get(item),
    put: async (item, value) => (await require()).put(item, value),
    delete: async (item) => (await require()).delete(item),
    prove: async () => (await require()).prove(),
    unlock: async (passphrase) => (await require()).unlock(passphrase),
    lock: async () => (await require()).lock(),
    close: () =>
      serial.run(async () => {
        isClosed = true
        await opened?.close()
      }),
  }
}

/** The certificates and headers of each profile for the daemon's own calls, as the file has them at that moment. */

import { isBrokerError } from '../base/errors.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import type { ConnectionSettings } from '../prefect/connection.js'
import type { ProfileStore } from './profile.js'
import { resolveProfile } from './resolve.js'

/**
 * Call the result before each request for a profile. `undefined` if the profile has none, or does not lead to this API: its
 * headers may be secrets, and what it says of certificates is about its own server.
 */
export function createConnections({
  store,
  defaults,
}: {
  readonly store: Pick<ProfileStore, 'reading'>
  readonly defaults: CloudDefaults
}) {
  return (profile: string, cloudApiUrl: string): ConnectionSettings | undefined => {
    try {
      const resolved = resolveProfile({ file: store.reading().file, defaults, requested: profile })
      return resolved.cloudApiUrl === cloudApiUrl ? resolved.connection : undefined
    } catch (error) {
      // A login makes its profile only at its end.
      if (isBrokerError(error, 'profile_not_found')) return undefined
      throw error
    }
  }
}

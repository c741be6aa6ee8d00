/** What changes of profiles stand on. */

import type { Events } from '../base/events.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { CloudDefaults } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { RenameProfileDeps } from './rename.js'

export interface ProfileChangeDeps extends RenameProfileDeps {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly events: Events
  readonly defaults: CloudDefaults
  readonly now: () => number
  /** Brings the served answers up to date. */
  readonly settle: () => Promise<void>
}

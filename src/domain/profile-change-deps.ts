/** What changes of profiles stand on. */
import type { CloudApi } from './cloud.js'
import type { Credentials } from './credentials.js'
import type { Events } from './events.js'
import type { CloudDefaults } from './profile.js'
import type { RenameProfileDeps } from './rename-profile.js'

export interface ProfileChangeDeps extends RenameProfileDeps {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly events: Events
  readonly defaults: CloudDefaults
  readonly now: () => number
  /** Brings the served answers up to date. */
  readonly settle: () => Promise<void>
}

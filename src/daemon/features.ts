/** What the broker does by itself and when it is asked: renewal, logins, changes of profiles, kept files, and the idle exit. */

import { createJobMinder } from '../admin/age-jobs.js'
import { createProfileMinder } from '../admin/follow-profiles.js'
import { createRecogniser } from '../admin/own-keys.js'
import { createProfileAdmin } from '../admin/profiles.js'
import { createRenameFollower } from '../admin/renames.js'
import { createFileKeeper } from '../files/keeper.js'
import { createLoginSessions } from '../login/sessions.js'
import { findLoginTarget } from '../login/target.js'
import { createRenewal } from '../renewal/renewal.js'
import { createShares } from '../share/shares.js'
import { notifyPeople } from '../status/notify.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Core } from './core.js'
import { createIdleExit } from './idle.js'
import type { BrokerParts } from './open-parts.js'

const CONFIRM_MS = 10 * MINUTE_MS

export type Features = ReturnType<typeof createFeatures>

/** Renewal, logins, changes of profiles, and the idle exit. */
export function createFeatures(parts: BrokerParts, core: Core) {
  const { settings, defaults, clock, times, random, newId, log, vault, store, audit } = parts
  const { events, journal, keeper, verdicts, cloud, credentials, settle, tokens } = core
  const { turns, disposal, changes, rotator, acceptLogin } = core
  const retireAfterMs = settings['renewal.retire_after']
  const now = () => clock.now()
  const renewal = createRenewal({
    keeper,
    credentials,
    vault,
    cloud,
    disposal,
    turns,
    changes,
    rotator,
    journal,
    events,
    verdicts,
    times,
    clock,
    settle,
    newId,
    ...defined({ retireAfterMs }),
    random,
    log: log.child({ part: 'renewal' }),
  })
  const stopNotifying = notifyPeople({ events, notify: parts.notify })
  // The person may not have to do it: Prefect may take the old key again.
  events.onEvent(({ type, profile = '' }) => {
    if (type === 'login.started' && keeper.current(profile)?.rejectedAt !== undefined) {
      void renewal.renewIfDue(profile)
    }
  })

  const shared = { store, keeper, credentials, events }
  const shares = createShares({
    settings: parts.shares?.settings ?? {},
    openStore: (one) => {
      if (parts.shares === undefined) throw new Error('no store can be opened')
      return parts.shares.openStore(one)
    },
    hostname: parts.hostname,
    ...{ keeper, changes, cloud, credentials, vault, events, times, clock, random, newId },
    log: log.child({ part: 'share' }),
  })
  const profiles = createProfileAdmin({
    ...shared,
    ...{ cloud, changes, rotator, defaults, newId, settle, now },
    leaveShare: (share, profile) => shares.leave(share, profile),
  })
  const minder = createProfileMinder({
    ...shared,
    audit,
    changes,
    clock,
    newId,
    admin: profiles,
    followRename: createRenameFollower({ ...shared, changes, log: log.child({ part: 'profiles' }) }),
    recognise: createRecogniser({
      ...shared,
      changes,
      cloud,
      now,
      settle,
      log: log.child({ part: 'profiles' }),
    }),
    log: log.child({ part: 'profiles' }),
    policy: { adopt: settings['profiles.adopt'], mirror: settings['profiles.mirror'] },
  })
  const mindJobs = createJobMinder({ tokens, credentials, audit, clock, log: log.child({ part: 'jobs' }) })

  const logins = createLoginSessions({
    clock,
    cloud,
    events,
    newId,
    log: log.child({ part: 'login' }),
    newState: parts.randomToken,
    target: (profile) => findLoginTarget({ store, keeper, defaults }, profile),
    openCallback: parts.openCallback,
    ports: parts.state.loginPorts,
    keep: acceptLogin.keep,
    policy: {
      timeoutMs: settings['login.timeout'],
      confirmMs: CONFIRM_MS,
      stateInPath: settings['login.state_in_path'],
    },
  })
  const files = createFileKeeper({
    document: parts.state.files,
    ...{ credentials, events, audit, clock },
    profilesFile: () => store.reading().path,
    log: log.child({ part: 'files' }),
  })
  const idle = createIdleExit({
    afterMs: settings.idle_exit,
    clock,
    log: log.child({ part: 'idle' }),
    wakeTimer: parts.wakeTimer,
    isOnDemand: parts.facts.isOnDemand === true,
    holders: () => tokens.list().length + files.list().length + (shares.isActive() ? 1 : 0),
    hasOwnLogLevel: () => log.level() !== settings['log.level'],
    isStateBehind: () => parts.state.trouble() !== undefined,
    leave: () => parts.onShutdown('idle'),
    credentials,
    keeper,
    vault,
    logins,
    journal,
    renewal,
    times,
    listeners: parts.listeners,
    ...defined({ retireAfterMs }),
  })
  return { renewal, stopNotifying, profiles, minder, mindJobs, logins, files, shares, idle }
}

/** What can be wrong with a token that is named or presented. */

import { BrokerError } from '../base/errors.js'
import type { TokenRecord } from './records.js'

export function revokedInMemory(id: string): BrokerError {
  return new BrokerError(
    'disk_failed',
    `token '${id}' is revoked, but that could not be written: it may be valid again after a restart`,
    { hint: 'prefect-auth doctor' },
  )
}

export function unknownToken(id: string): BrokerError {
  return new BrokerError('token_not_found', `there is no token '${id}'`, { hint: 'prefect-auth token ls' })
}

/** 503 and not 401: a running job cannot get another token, and would end. */
export function parked({ id }: TokenRecord): BrokerError {
  return new BrokerError(
    'token_parked',
    'this token is parked: another user held the TCP port of prefect-authd and may have it',
    {
      hint: `prefect-auth token keep ${id}      (or, if you do not know who it was: prefect-auth token revoke ${id})`,
    },
  )
}

/** The address that a browser ended on, as a person pastes it: checked as the callback checks its request. Pure. */

import { BrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { loginCommand } from '../std/text.js'
import { readDelivery, refuseCallback } from './delivery.js'

/** Where the key of this login is delivered to. */
interface Expected {
  readonly profile: string
  readonly port: number
  readonly uiOrigin: string
  /** Hash of the text in the callback's path, if the login has one. */
  readonly stateHash?: string
  /** Whose login a port of ours was opened for; `undefined` for a port that is not ours. */
  readonly loginAt: (port: number) => { readonly profile: string; readonly isOver: boolean } | undefined
}

const EXAMPLE = 'copy the whole address from the browser; it begins with http://localhost:'

/**
 * The key in `text`. Throws `address_malformed` if it is not an address with a key, and `address_mismatch` if it is
 * another login's. Neither repeats the text.
 */
export function readAddress(text: string, expected: Expected): Secret {
  const url = parse(text)
  if (url.searchParams.has('callback')) {
    throw malformed(
      'it is the address of the login page; sign in there, then copy the one that the browser ends on',
    )
  }
  if (url.protocol !== 'http:' || !['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)) {
    throw malformed('it does not begin with http://localhost:')
  }
  const { port } = expected
  if (url.port !== String(port)) throw mismatch(Number(url.port === '' ? 80 : url.port), expected)
  const target = `${url.pathname}${url.search}`
  const head = { method: 'GET', target, hosts: [url.host], headers: {} }
  const { uiOrigin, stateHash } = expected
  const refusal = refuseCallback(head, { hosts: new Set([url.host]), uiOrigin, ...defined({ stateHash }) })
  if (refusal?.why === 'state') {
    throw new BrokerError('address_mismatch', 'this address has not the state of this login in its path', {
      hint: 'copy the address that this login led to',
    })
  }
  const isPath = stateHash === undefined ? url.pathname === '/' : /^\/[^/]+\/?$/.test(url.pathname)
  if (refusal !== undefined || !isPath)
    throw malformed('its path is not the one that the login page leads to')
  const key = readDelivery(target)
  if (key === 'no key') throw malformed('there is no key in it')
  if (key === 'key') throw malformed('what it has as its key is not one')
  return key
}

/** Browsers show addresses without `http://`, and some copy them like that. */
function parse(text: string): URL {
  const address = text.trim().replace(/^["'`<](.*)["'`>]$/s, '$1')
  const whole = /^(localhost|127\.0\.0\.1|\[::1\]):\d/.test(address) ? `http://${address}` : address
  if (/\s/.test(whole) || !URL.canParse(whole)) throw malformed('it is no address')
  return new URL(whole)
}

function malformed(problem: string): BrokerError {
  return new BrokerError(
    'address_malformed',
    `this is not the address that the browser ended on: ${problem}`,
    {
      hint: EXAMPLE,
    },
  )
}

function mismatch(found: number, { profile, port, loginAt }: Expected): BrokerError {
  const other = loginAt(found)
  const whose =
    other === undefined
      ? `it has port ${found}, and this login has port ${port}`
      : `it is from ${other.isOver ? 'a login that has ended' : 'another login'}, of profile '${other.profile}'`
  return new BrokerError('address_mismatch', `this is not the address of this login: ${whose}`, {
    hint: other !== undefined && !other.isOver ? loginCommand(other.profile) : loginCommand(profile),
  })
}

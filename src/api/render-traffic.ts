/** What went through the proxy, on the wire and as metrics, cut down to the caller's profiles. */

import type { ProxyTraffic } from '../proxy/traffic.js'
import { type Caller, reachesProfile } from '../tokens/access.js'
import type { ProxyTrafficView } from '../wire/credentials.js'
import type { MetricFamily } from './metric-family.js'
import { renderTime } from './render.js'

/** Only the lines that the caller may see. */
export function visibleTraffic(traffic: readonly ProxyTraffic[], caller: Caller): readonly ProxyTraffic[] {
  return traffic.filter(({ profile }) => reachesProfile(caller, profile))
}

export function renderTraffic(line: ProxyTraffic): ProxyTrafficView {
  return {
    profile: line.profile,
    ...(line.token === undefined ? {} : { token: line.token }),
    requests: line.requests,
    replays: line.replays,
    parked: line.parked,
    bytes_up: line.bytesUp,
    bytes_down: line.bytesDown,
    sockets: line.sockets,
    sockets_opened: line.socketsOpened,
    last_at: renderTime(line.lastAt),
  }
}

/** By profile and token name; the owner's own, over the unix socket, have no token. */
export function trafficFamilies(traffic: readonly ProxyTraffic[]): readonly MetricFamily[] {
  const labels = ({ profile, token = '' }: ProxyTraffic) => ({ profile, token })
  const samples = (value: (line: ProxyTraffic) => number): MetricFamily['samples'] =>
    traffic.map((line) => [labels(line), value(line)] as const)
  const bytes = traffic.flatMap((line) => [
    [{ ...labels(line), direction: 'up' }, line.bytesUp] as const,
    [{ ...labels(line), direction: 'down' }, line.bytesDown] as const,
  ])
  const counter = (name: string, help: string, of: MetricFamily['samples']) =>
    ({ name: `prefect_auth_proxy_${name}_total`, type: 'counter', help, samples: of }) as const
  return [
    counter(
      'requests',
      'Requests that went through the proxy.',
      samples(({ requests }) => requests),
    ),
    counter(
      'replays',
      'Requests sent a second time, with a newer key.',
      samples(({ replays }) => replays),
    ),
    counter(
      'parked',
      'Requests told to wait for a key or for Prefect.',
      samples(({ parked }) => parked),
    ),
    counter('bytes', 'Bytes of bodies and frames, up to Prefect and down.', bytes),
    counter(
      'sockets_opened',
      'WebSockets opened.',
      samples(({ socketsOpened }) => socketsOpened),
    ),
    {
      name: 'prefect_auth_proxy_sockets',
      type: 'gauge',
      help: 'WebSockets open now.',
      samples: samples(({ sockets }) => sockets),
    },
  ]
}

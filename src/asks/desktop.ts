/** Asks on the desktop: a notification with the buttons Yes and No, pressed at the desktop's own notification service. */
import type { Socket } from 'node:net'
import { type Bus, busSocket, openBus } from '../os/bus.js'
import type { BusArgument, BusMessage } from '../os/bus-message.js'
import { inodeOf } from '../os/callers.js'
import type { Peer } from '../os/peer.js'
import type { Look } from '../os/peer-finder.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { cleanText } from '../std/text.js'
import { isTrunk } from './origin.js'

export interface DesktopQuestion {
  readonly id: number
  /** `start deployment Testing/nightly in prefect/production` */
  readonly sentence: string
  readonly token: string
  /** The program that asks, as far as the system tells. */
  readonly program?: string
}

/** Resolves with the button that was pressed; `undefined`: none, or nobody can press one. Never rejects. */
export type AskDesktop = (
  question: DesktopQuestion,
  closed: AbortSignal,
) => Promise<'yes' | 'no' | 'unshown' | undefined>

const NAME = 'org.freedesktop.Notifications'
const PATH = '/org/freedesktop/Notifications'

/**
 * Services whose buttons only a person can press. Not dunst, mako or swaync: `dunstctl action`, `makoctl invoke` and
 * `swaync-client` press them for any program.
 */
const SERVICES: ReadonlySet<string> = new Set(
  'cinnamon gnome-shell lxqt-notificationd mate-notification-daemon plasmashell xfce4-notifyd'.split(' '),
)
/** GNOME runs its service in this program, from a file of the system. */
const GNOME_SCRIPT = { name: 'gjs-console', script: 'org.gnome.Shell.Notifications' }
const BUSES: ReadonlySet<string> = new Set(['dbus-daemon', 'dbus-broker'])

/** A press sooner than this was meant for something else that was there. */
const READ_MS = 700

/** Whether it runs a program of the system, and nobody but the session has started or controls it. */
function isSound({ chain }: Peer): boolean {
  const [self, ...above] = chain
  if (self?.isSystemProgram !== true) return false
  return (
    chain.every(({ isTraced, job }) => !isTraced && job === undefined) &&
    above.every((one) => isTrunk(one, self.uid))
  )
}

/** Whether a button of this notification service is pressed by people alone. */
export function isPressedByPeople(peer: Peer): boolean {
  const [self] = peer.chain
  if (self === undefined || !isSound(peer)) return false
  return (
    SERVICES.has(self.name) || (self.name === GNOME_SCRIPT.name && self.systemScript === GNOME_SCRIPT.script)
  )
}

const isSystemBus = (peer: Peer) => BUSES.has(peer.chain[0]?.name ?? '') && isSound(peer)

interface DesktopParts {
  /** `DBUS_SESSION_BUS_ADDRESS`, or what stands for it. Called for each question: a daemon may be older than the session. */
  readonly findBus: () => string | undefined
  readonly uid: number | undefined
  readonly clock: Clock
  readonly log: Log
  readonly look: Look
  readonly isTrusted?: { bus(peer: Peer): boolean; service(peer: Peer): boolean }
}

const TRUSTED = { bus: isSystemBus, service: isPressedByPeople } as const

export function createAskDesktop({
  findBus,
  uid,
  clock,
  log,
  look,
  isTrusted = TRUSTED,
}: DesktopParts): AskDesktop {
  return async (question, closed) => {
    const path = busSocket(findBus() ?? '')
    if (path === undefined || uid === undefined) return 'unshown'
    let bus: Bus | undefined
    try {
      bus = await openBus(path, uid, clock)
      if (!(await isLookedAt(bus.socket, path))) throw new Error('no session bus of the system')
      return await ask(bus, question, closed)
    } catch (error) {
      log.debug({ error: cleanText(String(error)) }, 'question not shown on the desktop')
      return closed.aborted ? undefined : 'unshown'
    } finally {
      bus?.close()
    }
  }

  async function isLookedAt(socket: Socket, boundTo: string): Promise<boolean> {
    const inode = await inodeOf(socket)
    const peer = inode === undefined ? undefined : await look({ inode, boundTo })
    return peer !== undefined && isTrusted.bus(peer)
  }

  async function ask(bus: Bus, question: DesktopQuestion, closed: AbortSignal) {
    const service = await findService(bus)
    if (closed.aborted) return undefined
    const canPress = service.isTrusted && service.hasActions
    await bus.ask('AddMatch', `type='signal',sender='${service.name}',interface='${NAME}',path='${PATH}'`)
    const pressed = watch(bus, service.name)
    const body = notification(question, canPress)
    const [id] = await bus.call({
      destination: service.name,
      path: PATH,
      interface: NAME,
      member: 'Notify',
      body,
    })
    if (typeof id !== 'number' || !canPress) return undefined
    const shownAt = clock.monotonic()
    const answer = await Promise.race([pressed.of(id), bus.ended.then(() => undefined), aborted(closed)])
    if (closed.aborted) {
      const body = [['u', id]] as const
      await bus.call({
        destination: service.name,
        path: PATH,
        interface: NAME,
        member: 'CloseNotification',
        body,
      })
      return undefined
    }
    if (answer === 'yes' && clock.monotonic() - shownAt < READ_MS) return undefined
    return answer
  }

  /** By its unique name, which the bus gives to no other connection: who takes the well-known name later is nobody to us. */
  async function findService(bus: Bus) {
    const to = { destination: NAME, path: PATH, interface: NAME }
    // Starts it, where the bus does that.
    const [able] = await bus.call({ ...to, member: 'GetCapabilities', body: [] })
    const [name] = await bus.ask('GetNameOwner', NAME)
    if (typeof name !== 'string') throw new Error('no notification service')
    const [pid] = await bus.ask('GetConnectionUnixProcessID', name)
    const peer = typeof pid === 'number' ? await look({ pid }) : undefined
    const hasActions = Array.isArray(able) && able.includes('actions')
    return { name, hasActions, isTrusted: peer !== undefined && isTrusted.service(peer) }
  }
}

/** What the service says of each notification, also before its number is known here. */
function watch(bus: Bus, service: string) {
  const answers = new Map<number, 'yes' | 'no' | undefined>()
  const seers = new Map<number, () => void>()
  bus.onSignal((signal) => {
    if (signal.sender !== service || signal.interface !== NAME || signal.path !== PATH) return
    const answer = readSignal(signal)
    if (answer === undefined || answers.has(answer.id)) return
    answers.set(answer.id, answer.pressed)
    seers.get(answer.id)?.()
  })
  return {
    of: (id: number) =>
      new Promise<'yes' | 'no' | undefined>((resolve) => {
        if (answers.has(id)) return resolve(answers.get(id))
        seers.set(id, () => resolve(answers.get(id)))
      }),
  }
}

function readSignal({
  member,
  body: [id, key],
}: BusMessage): { readonly id: number; readonly pressed: 'yes' | 'no' | undefined } | undefined {
  if (typeof id !== 'number') return undefined
  if (member === 'NotificationClosed') return { id, pressed: undefined }
  if (member !== 'ActionInvoked' || (key !== 'yes' && key !== 'no')) return undefined
  return { id, pressed: key }
}

/** Notify(susssasa{sv}i), Desktop Notifications Specification 1.2. No time-out; a click beside the buttons is no answer. */
function notification({ id, sentence, token, program }: DesktopQuestion, canPress: boolean): BusArgument[] {
  const who = program === undefined ? '' : `, ${program}`
  const lines = [
    sentence,
    `asked with token ${token}${who}`,
    ...(canPress ? [] : [`Answer in a terminal: prefect-auth asks yes ${id}`]),
  ]
  return [
    ['s', 'prefect-auth'],
    ['u', 0],
    ['s', ''],
    ['s', 'Prefect: a job asks'],
    ['s', escapeMarkup(cleanLines(lines))],
    ['as', canPress ? ['yes', 'Yes', 'no', 'No'] : []],
    ['a{sv}', { urgency: 2 }],
    ['i', 0],
  ]
}

const cleanLines = (lines: readonly string[]) => lines.map((line) => cleanText(line, 300)).join('\n')

/** A body is read as simple markup. */
function escapeMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}

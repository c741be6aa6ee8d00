/** Where a process comes from: a login, a terminal on the desktop, or neither. By its ancestors alone. */
import type { Peer, ProcessFacts } from '../os/peer.js'

type Chain = Peer['chain']

/** How the owner reaches a process: through interactive shells alone, of which `shell` is the first. */
export interface Way {
  readonly kind: 'login' | 'terminal'
  readonly shell: ProcessFacts
}

const SHELLS: ReadonlySet<string> = new Set(
  'ash bash csh dash elvish fish ksh ksh93 lksh mksh nu oksh rbash sh tcsh yash zsh'.split(' '),
)

/** Programs that root runs and that let somebody in by a password or a key. Not cron, at or a container's runtime. */
const LOGINS: ReadonlySet<string> = new Set('dropbear login sshd sshd-auth sshd-session'.split(' '))

const TERMINALS: ReadonlySet<string> = new Set(
  [
    'alacritty foot ghostty gnome-terminal-server kgx kitty konsole lxterminal mate-terminal ptyxis ptyxis-agent',
    'qterminal rxvt st terminology tilix urxvt wezterm-gui xfce4-terminal xterm',
  ]
    .join(' ')
    .split(' '),
)

/** What starts terminals in a desktop session. */
const DESKTOP: ReadonlySet<string> = new Set(
  [
    'Hyprland Xorg cinnamon cinnamon-session-binary cosmic-comp cosmic-panel cosmic-session dbus-broker-launch',
    'dbus-daemon gdm-wayland-session gdm-x-session gnome-session-binary gnome-session-service gnome-shell i3 krunner',
    'ksmserver kwin_wayland kwin_x11 labwc lxqt-panel lxqt-session lxsession mate-panel mate-session niri openbox',
    'plasma_session plasmashell startplasma-wayland startplasma-x11 sway xfce4-panel xfce4-session xfdesktop xfwm4',
  ]
    .join(' ')
    .split(' '),
)

/** Whether everybody's processes may have it above them, so that it says nothing about who started them. */
export function isTrunk(one: ProcessFacts, owner: number): boolean {
  if (one.pid === 1 || one.uid !== owner) return true
  if (!one.isSystemProgram) return false
  const isUserManager = one.name === 'systemd' && one.parent === 1
  const isRootLogin = owner === 0 && LOGINS.has(one.name)
  return isUserManager || isRootLogin || TERMINALS.has(one.name) || DESKTOP.has(one.name)
}

const isTerminal = ({ name, isSystemProgram }: ProcessFacts) => isSystemProgram && TERMINALS.has(name)

export const isInteractiveShell = ({ name, hasPlainArguments, tty }: ProcessFacts) =>
  SHELLS.has(name) && hasPlainArguments && tty !== 0

/** The way down to `chain[at]`, which is a shell; `undefined` if something else lies between it and a login or terminal. */
function wayTo(chain: Chain, at: number, owner: number): Way | undefined {
  const rest = chain.slice(at)
  const shells = rest.findIndex((one) => !isInteractiveShell(one))
  const shell = rest[shells - 1]
  if (shell === undefined) return undefined
  const above = rest.slice(shells)
  const [terminal] = above
  if (terminal !== undefined && isTerminal(terminal)) {
    return above.every((one) => isTrunk(one, owner)) ? { kind: 'terminal', shell } : undefined
  }
  // The part of sshd that runs as the user; only with that of root above it is it the system's.
  const roots = above.filter((one, index) => index > 0 || !isSshd(one) || one.uid === 0)
  const [login] = roots
  if (login === undefined || login.uid !== 0 || !LOGINS.has(login.name)) return undefined
  return roots.every((one) => isTrunk(one, owner)) ? { kind: 'login', shell } : undefined
}

const isSshd = ({ name }: ProcessFacts) => name === 'sshd' || name === 'sshd-session'

/** The way to the parent of a process. */
export function findWay(chain: Chain): Way | undefined {
  const [self] = chain
  return self === undefined ? undefined : wayTo(chain, 1, self.uid)
}

export interface Origin {
  readonly self: ProcessFacts
  /** The first process of what the owner started there; in it there may be an agent. */
  readonly root: ProcessFacts
  /** Absent: it has left its parents, or a service manager started it, for whomever. */
  readonly way?: Way
}

/** Returns `undefined` for an empty chain. */
export function findOrigin(chain: Chain): Origin | undefined {
  const [self] = chain
  if (self === undefined) return undefined
  for (const [index, root] of chain.entries()) {
    const way = wayTo(chain, index + 1, self.uid)
    if (way !== undefined) return { self, root, way }
  }
  return { self, root: chain.findLast((one) => !isTrunk(one, self.uid)) ?? self }
}

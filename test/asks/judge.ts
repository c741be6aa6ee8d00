/** Whose answer counts: chains of processes as they are on real systems, and what attackers make of them. */
import t from 'tap'
import { judge } from '../../src/asks/judge.js'
import type { Peer, ProcessFacts } from '../../src/os/peer.js'

const ME = 1000

type Part = Partial<ProcessFacts> & Pick<ProcessFacts, 'pid' | 'name'>

/** From the process upward. Without other facts a process is as old as its pid, of the owner, with terminal 5. */
function chainOf(...parts: readonly Part[]): Peer {
  const chain = parts.map((part, index) => ({
    ...{ startedAt: part.pid, uid: ME, tty: 5, group: '/', parent: parts[index + 1]?.pid ?? 0 },
    ...{ isSystemProgram: false, hasPlainArguments: false, isTraced: false, ...part },
  }))
  return { seenAt: 1000, chain, shown: '' }
}

const INIT: Part = { pid: 1, name: 'systemd', uid: 0 }
const LISTENER: Part = { pid: 20, name: 'sshd', uid: 0 }
const MANAGER: Part = { pid: 30, name: 'systemd', isSystemProgram: true, tty: 0 }
const GNOME: Part = { pid: 40, name: 'gnome-terminal-server', isSystemProgram: true, tty: 0 }

/** A login over ssh: shell 101 of connection 100 and so on. */
const login = (
  pid: number,
  { tty = pid, group = '/', from = 'elsewhere' as const } = {},
): readonly Part[] => [
  { pid: pid + 1, name: 'bash', hasPlainArguments: true, tty, group, sshFrom: from, startedAt: pid + 1 },
  { pid, name: 'sshd', tty: 0, group },
  { pid: pid - 1, name: 'sshd', uid: 0, tty: 0, group },
  LISTENER,
  INIT,
]
const tab = (pid: number): readonly Part[] => [
  { pid, name: 'zsh', hasPlainArguments: true, tty: pid },
  GNOME,
  MANAGER,
  INIT,
]
const command = (pid: number, tty: number, more: Partial<ProcessFacts> = {}): Part => ({
  ...{ pid, name: 'node', tty, ...more },
})

const AGENT_A = [
  command(130, 100, { name: 'python3.11' }),
  { pid: 125, name: 'bash', tty: 100 },
  { pid: 120, name: 'claude', tty: 100 },
] as const
const ASKER = chainOf(...AGENT_A, ...login(100))

/** What asks, what answers, and a part of the reason; `''`: it counts. */
const table: readonly (readonly [
  title: string,
  asker: Peer | undefined,
  answerer: Peer | undefined,
  reason: string,
])[] = [
  ['another login over ssh', ASKER, chainOf(command(240, 200), ...login(200)), ''],
  ['an older login', chainOf(...AGENT_A, ...login(100)), chainOf(command(240, 50), ...login(50)), ''],
  [
    'a shell in a shell of another login',
    ASKER,
    chainOf(command(240, 200), { pid: 230, name: 'fish', hasPlainArguments: true, tty: 200 }, ...login(200)),
    '',
  ],
  [
    'the console',
    ASKER,
    chainOf(
      command(240, 7),
      { pid: 235, name: 'bash', hasPlainArguments: true, tty: 7 },
      { pid: 234, name: 'login', uid: 0 },
      INIT,
    ),
    '',
  ],
  [
    'an older tab of the same terminal',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(command(240, 90), ...tab(90)),
    '',
  ],
  [
    'a tab that is older than the agent, not than its tab',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(command(240, 110), ...tab(110)),
    '',
  ],
  [
    'a tab that was opened after the agent was started',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(command(240, 200), ...tab(200)),
    'this terminal was opened after claude[120] was started',
  ],
  ['nobody', ASKER, undefined, 'nothing shows which process answers'],
  ['a process that has ended', ASKER, chainOf(), 'nothing shows which process answers'],
  ['the asker', ASKER, ASKER, 'below python3.11[130], which asks itself'],
  ['a child of the asker', ASKER, chainOf(command(131, 100), ...AGENT_A, ...login(100)), 'which asks itself'],
  [
    'a sibling below the same agent',
    ASKER,
    chainOf(command(140, 100), { pid: 138, name: 'bash', tty: 100 }, AGENT_A[2], ...login(100)),
    'below claude[120], which also started',
  ],
  ['the agent itself', ASKER, chainOf(AGENT_A[2], ...login(100)), 'claude[120]'],
  ['the shell that started the agent', ASKER, chainOf(command(140, 100), ...login(100)), 'below bash[101]'],
  [
    'another shell of the same ssh connection',
    ASKER,
    chainOf(
      command(240, 200),
      { pid: 201, name: 'bash', hasPlainArguments: true, tty: 200 },
      ...login(100).slice(1),
    ),
    'below sshd[100]',
  ],
  [
    'a job of prefect-auth elsewhere',
    ASKER,
    chainOf(command(240, 200, { job: 'ab' }), ...login(200)),
    'inside a job',
  ],
  [
    'a job by its parent',
    ASKER,
    chainOf(
      command(240, 200),
      { pid: 239, name: 'bash', hasPlainArguments: true, tty: 200, job: 'ab' },
      ...login(200),
    ),
    'PREFECT_AUTH_JOB is set in bash[239]',
  ],
  [
    'setsid',
    ASKER,
    chainOf(command(140, 0), { pid: 138, name: 'bash', tty: 0 }, AGENT_A[2], ...login(100)),
    'claude[120]',
  ],
  ['a double fork with an empty environment', ASKER, chainOf(command(240, 0), INIT), 'no shell of yours'],
  [
    'a double fork below the user manager',
    ASKER,
    chainOf(command(240, 0), MANAGER, INIT),
    'no shell of yours',
  ],
  [
    'an orphan that calls itself a shell',
    ASKER,
    chainOf(command(240, 9), { pid: 239, name: 'bash', hasPlainArguments: true }, INIT),
    'no login and no terminal',
  ],
  [
    'systemd-run --user',
    ASKER,
    chainOf(
      command(240, 0, { group: '/user.slice/user-1000.slice/user@1000.service/app.slice/run-u1.service' }),
      MANAGER,
      INIT,
    ),
    'no shell of yours',
  ],
  [
    'systemd-run --user --pty bash',
    ASKER,
    chainOf(command(240, 9), { pid: 239, name: 'bash', hasPlainArguments: true, tty: 9 }, MANAGER, INIT),
    'no login and no terminal',
  ],
  [
    'systemd-run --user --scope',
    ASKER,
    chainOf(command(240, 100), { pid: 238, name: 'bash', tty: 100 }, AGENT_A[2], ...login(100)),
    'claude[120]',
  ],
  [
    'a tmux that runs in another login',
    ASKER,
    chainOf(
      command(240, 31),
      { pid: 230, name: 'bash', hasPlainArguments: true, tty: 31 },
      { pid: 60, name: 'tmux', isSystemProgram: true, tty: 0 },
      INIT,
    ),
    'inside tmux[60]',
  ],
  [
    'a tmux in the foreground of another login',
    ASKER,
    chainOf(
      command(240, 31),
      { pid: 230, name: 'bash', hasPlainArguments: true, tty: 31 },
      { pid: 60, name: 'tmux' },
      ...login(50),
    ),
    'inside tmux[60]',
  ],
  [
    'screen',
    ASKER,
    chainOf(
      command(240, 31),
      { pid: 230, name: 'bash', hasPlainArguments: true, tty: 31 },
      { pid: 60, name: 'screen' },
      INIT,
    ),
    'inside screen[60]',
  ],
  [
    'script, which makes a terminal',
    ASKER,
    chainOf(
      command(240, 31),
      { pid: 230, name: 'bash', hasPlainArguments: true, tty: 31 },
      { pid: 229, name: 'script' },
      ...AGENT_A.slice(2),
      ...login(100),
    ),
    'claude[120]',
  ],
  [
    'script in another login',
    ASKER,
    chainOf(
      command(240, 31),
      { pid: 230, name: 'bash', hasPlainArguments: true, tty: 31 },
      { pid: 229, name: 'script' },
      ...login(50),
    ),
    'inside script[229]',
  ],
  [
    'cron',
    ASKER,
    chainOf(
      command(240, 0),
      { pid: 239, name: 'dash', tty: 0 },
      { pid: 238, name: 'cron', uid: 0, tty: 0 },
      INIT,
    ),
    'dash[239] started this command',
  ],
  [
    'at',
    ASKER,
    chainOf(
      command(240, 0),
      { pid: 239, name: 'dash', hasPlainArguments: true, tty: 0 },
      { pid: 238, name: 'atd', uid: 0, tty: 0 },
      INIT,
    ),
    'dash[239] started this command',
  ],
  [
    'cron with a terminal of its own',
    ASKER,
    chainOf(
      command(240, 9),
      { pid: 239, name: 'bash', hasPlainArguments: true, tty: 9 },
      { pid: 238, name: 'cron', uid: 0, tty: 0 },
      INIT,
    ),
    'no login and no terminal',
  ],
  [
    'a debugger on the shell of another login',
    ASKER,
    chainOf(
      command(240, 200),
      { pid: 201, name: 'bash', hasPlainArguments: true, tty: 200, isTraced: true, sshFrom: 'elsewhere' },
      ...login(200).slice(1),
    ),
    'controls bash[201]',
  ],
  [
    'a debugger that lets another shell run a command',
    ASKER,
    chainOf(command(240, 200), { pid: 239, name: 'dash', tty: 200 }, ...login(200)),
    'dash[239] started this command',
  ],
  [
    'ssh to this machine',
    ASKER,
    chainOf(
      command(240, 200),
      { pid: 201, name: 'bash', hasPlainArguments: true, tty: 200, sshFrom: 'here' },
      ...login(200).slice(1),
    ),
    'from this machine itself',
  ],
  [
    'ssh that does not say where it comes from',
    ASKER,
    chainOf(
      command(240, 200),
      { pid: 201, name: 'bash', hasPlainArguments: true, tty: 200 },
      ...login(200).slice(1),
    ),
    'from this machine itself',
  ],
  [
    'ssh with a command',
    ASKER,
    chainOf(
      command(240, 0),
      { pid: 201, name: 'bash', tty: 0, sshFrom: 'elsewhere' },
      ...login(200).slice(1),
    ),
    'bash[201] started this command',
  ],
  [
    "a forward of the owner's socket by sshd",
    ASKER,
    chainOf({ pid: 100, name: 'sshd', tty: 0 }, ...login(100).slice(2)),
    'sshd',
  ],
  [
    'an sshd that the agent started',
    ASKER,
    chainOf(
      command(240, 200),
      { pid: 201, name: 'bash', hasPlainArguments: true, tty: 200, sshFrom: 'elsewhere' },
      { pid: 200, name: 'sshd', isSystemProgram: true },
      { pid: 199, name: 'sshd', isSystemProgram: true },
      INIT,
    ),
    'sshd[200] started this command',
  ],
  [
    'a login that the agent leads to by su',
    ASKER,
    chainOf(
      command(240, 100),
      { pid: 239, name: 'bash', hasPlainArguments: true, tty: 100 },
      { pid: 238, name: 'su', uid: 0 },
      AGENT_A[2],
      ...login(100),
    ),
    'claude[120]',
  ],
  [
    'a terminal that the agent started',
    ASKER,
    chainOf(
      command(240, 9),
      { pid: 239, name: 'bash', hasPlainArguments: true, tty: 9 },
      { pid: 238, name: 'xterm', isSystemProgram: true },
      AGENT_A[2],
      ...login(100),
    ),
    'claude[120]',
  ],
  [
    'a terminal that the agent started and left',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(
      command(240, 9),
      { pid: 239, name: 'bash', hasPlainArguments: true, tty: 9 },
      { pid: 238, name: 'xterm', isSystemProgram: true },
      INIT,
    ),
    'opened after claude[120]',
  ],
  [
    'a command in a new tab without a shell',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(command(90, 9), GNOME, MANAGER, INIT),
    'no shell of yours',
  ],
  [
    'a script in an older tab',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(command(240, 90), { pid: 90, name: 'zsh', tty: 90 }, GNOME, MANAGER, INIT),
    'zsh[90] started this command',
  ],
  [
    'a copy of a terminal in the home',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(
      command(240, 90),
      { pid: 90, name: 'zsh', hasPlainArguments: true, tty: 90 },
      { pid: 80, name: 'xterm' },
      MANAGER,
      INIT,
    ),
    'xterm[80] started this command',
  ],
  [
    'the terminal of an editor',
    chainOf(...AGENT_A, ...tab(100)),
    chainOf(
      command(240, 90),
      { pid: 90, name: 'zsh', hasPlainArguments: true, tty: 90 },
      { pid: 80, name: 'code', isSystemProgram: true },
      MANAGER,
      INIT,
    ),
    'code[80] started this command',
  ],
  [
    'the terminal that the asker uses',
    ASKER,
    chainOf(command(240, 100), ...login(200, { tty: 100 })),
    'uses this terminal too',
  ],
  [
    'an older tab, to an asker that is nowhere',
    chainOf(command(500, 0), MANAGER, INIT),
    chainOf(command(540, 90), ...tab(90)),
    'may have been started from this terminal',
  ],
  [
    'an older login, to an asker that is nowhere',
    chainOf(command(500, 0), MANAGER, INIT),
    chainOf(command(540, 200), ...login(200)),
    'may have been started from this login',
  ],
  [
    'a new login, to an asker that is nowhere',
    chainOf(command(500, 0), MANAGER, INIT),
    chainOf(command(640, 600), ...login(600)),
    '',
  ],
  [
    'an agent in an older login, to what it typed into a tmux that is older still',
    chainOf(
      command(500, 31),
      { pid: 90, name: 'bash', hasPlainArguments: true, tty: 31 },
      { pid: 60, name: 'tmux', isSystemProgram: true, tty: 0 },
      INIT,
    ),
    chainOf({ pid: 240, name: 'claude', tty: 200 }, ...login(200)),
    'may have been started from this login',
  ],
  [
    'a new command in a login, to nobody knows whom',
    chainOf(),
    chainOf(command(1040, 200), ...login(200)),
    '',
  ],
  [
    'a command that was there before, to nobody knows whom',
    chainOf(),
    chainOf(command(240, 200), ...login(200)),
    'run: prefect-auth asks yes ID',
  ],
  [
    'a tab, to nobody knows whom',
    chainOf(),
    chainOf(command(1040, 200), ...tab(200)),
    'nothing shows which program asks',
  ],
  [
    'a login, where the system tells no askers',
    undefined,
    chainOf(command(1040, 200), ...login(200)),
    'run: prefect-auth asks yes ID',
  ],
]

for (const [title, asker, answerer, reason] of table) {
  t.test(`${reason === '' ? 'counts' : 'refuses'}: ${title}`, async (t) => {
    const said = judge(asker, answerer)
    if (reason === '') return void t.equal(said, undefined)
    t.ok(said?.includes(reason), said ?? 'it counted')
    t.match(said, /answer|run: /, 'it says what to do')
  })
}

t.test('root as the owner has root for a login, and no root for an agent', async (t) => {
  const asRoot = (peer: Peer): Peer => ({
    ...peer,
    chain: peer.chain.map((one) => ({
      ...one,
      uid: 0,
      isSystemProgram: one.isSystemProgram || one.name === 'sshd',
    })),
  })
  t.equal(judge(asRoot(ASKER), asRoot(chainOf(command(240, 200), ...login(200)))), undefined)
  const sibling = chainOf(command(140, 100), { pid: 138, name: 'bash', tty: 100 }, AGENT_A[2], ...login(100))
  t.match(judge(asRoot(ASKER), asRoot(sibling)), /below claude/)
  t.match(judge(asRoot(ASKER), asRoot(chainOf(command(240, 0), INIT))), /no shell of yours/)
})

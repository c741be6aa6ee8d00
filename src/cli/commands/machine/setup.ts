/** `prefect-auth setup`: everything that a new machine needs, asked once; `--remove` takes it away again. */
import type { Command } from 'commander'
import { failureOf } from '../../../client/failure.js'
import { defined } from '../../../std/defined.js'
import { askYes, requirePerson } from '../../ask.js'
import { cancelled } from '../../failure.js'
import { type CommonOptions, type Session, type Start, withJson } from '../../session.js'
import { createRecordKeeper } from '../../setup/files.js'
import { planSetup } from '../../setup/plan.js'
import type { Part, PartPlan, SetupContext, Step } from '../../setup/step.js'
import { PARTS } from '../../setup/step.js'
import { planRemoval } from '../../setup/undo.js'
import { printable } from '../../text.js'

type SetupOptions = CommonOptions &
  Readonly<Record<Part, boolean>> & {
    readonly yes?: boolean
    readonly print?: boolean
    readonly remove?: boolean
  }

const ABOUT: Readonly<Record<Part, string>> = {
  service: 'without the service, or the permission to start a daemon where there is no service manager',
  completion: 'without the completion of commands',
  hook: 'without the shell hook',
  python: 'without the plugin in Python environments',
  adopt: 'leave plain-text keys in profiles.toml',
  login: 'do not log in',
}

export function addSetup(program: Command, start: Start): void {
  const command = withJson(program.command('setup'))
    .description('set up this machine: service, shell, Python environments, key')
    .option('-y, --yes', 'do not ask')
    .option('--print', 'print what would be written, and change nothing')
    .option('--remove', 'take away what setup has written; keys and state stay')
  for (const part of PARTS) command.option(`--no-${part}`, ABOUT[part])
  command.action((options: SetupOptions) => {
    const name = options.print === true || options.remove === true ? 'setup (looks)' : 'setup'
    return start(name, options, (session) => setUp(session, options))
  })
}

async function setUp(session: Session, options: SetupOptions): Promise<number> {
  const { print = false, remove = false, yes = false } = options
  const context = { session, record: createRecordKeeper(session.terminal), isLookOnly: print }
  const parts = PARTS.filter((part) => options[part])
  const plan = await (remove ? planRemoval(context, parts) : planSetup(context, parts))
  if (print) return show(session, plan)
  if (plan.steps.length > 0) await agree(session, plan, yes, remove)
  return run(context, plan, remove)
}

function show(session: Session, { steps, notes }: PartPlan): number {
  const shown = steps.map(({ part, says, files }) => ({ part, says, files }))
  session.answer({ steps: shown, notes }, () =>
    [
      ...describePlan(steps),
      ...notes,
      ...steps.flatMap(({ files }) =>
        files.map(({ path, text }) => `\n# ${printable(path)}\n${text.trim()}`),
      ),
    ].join('\n'),
  )
  return 0
}

function describePlan(steps: readonly Step[]): readonly string[] {
  return steps.flatMap(({ part, says: [first = '', ...more] }) => [
    `${part}: ${first}`,
    ...more.map((line) => `  ${line}`),
  ])
}

async function agree(session: Session, plan: PartPlan, isAgreed: boolean, isRemoval: boolean): Promise<void> {
  for (const line of describePlan(plan.steps)) session.say(line)
  if (isAgreed) return
  const command = isRemoval ? 'prefect-auth setup --remove --yes' : 'prefect-auth setup --yes'
  requirePerson(session, 'setup asks before it changes anything', command)
  if (!(await askYes(session, isRemoval ? 'Take this away?' : 'Do this?'))) throw cancelled()
}

interface Outcome {
  readonly part: Part
  readonly state: 'done' | 'failed'
  readonly text: string
  readonly hint?: string
}

/** A part that fails does not prevent the next ones; what needs the daemon says so itself. */
async function run({ session }: SetupContext, plan: PartPlan, isRemoval: boolean): Promise<number> {
  const outcomes: Outcome[] = []
  for (const step of plan.steps) outcomes.push(await runStep(step))
  const failures = outcomes.filter(({ state }) => state === 'failed')
  session.answer({ steps: outcomes, notes: plan.notes }, () =>
    [
      ...outcomes.flatMap(describeOutcome),
      ...plan.notes,
      ...(outcomes.length === 0
        ? [isRemoval ? 'Setup has written nothing here.' : 'Everything is set up.']
        : []),
      ...(isRemoval && outcomes.length > 0 ? [KEPT] : []),
      ...(!isRemoval && outcomes.length > failures.length
        ? ['To take it away: prefect-auth setup --remove']
        : []),
    ].join('\n'),
  )
  return failures.length > 0 ? 1 : 0
}

const KEPT = 'Kept: the keys, the state directory, and keys that were moved out of profiles.toml.'

async function runStep({ part, run }: Step): Promise<Outcome> {
  try {
    return { part, state: 'done', text: await run() }
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined || failure.kind === 'cancelled') throw error
    return { part, state: 'failed', text: failure.detail, ...defined({ hint: failure.hint }) }
  }
}

function describeOutcome({ part, state, text, hint }: Outcome): readonly string[] {
  if (state === 'done') return [`${part}: ${printable(text)}`]
  return [`${part}: failed: ${printable(text)}`, ...(hint === undefined ? [] : [`  try: ${printable(hint)}`])]
}

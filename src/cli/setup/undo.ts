/** What setup has written, taken away again: only that, and in the opposite order. */
import { openServiceManager } from '../service/service.js'
import { printable } from '../text.js'
import { inHome, removeEmpty } from './files.js'
import { takeOutPlugin } from './python-part.js'
import type { SetupRecord } from './record.js'
import { ifRunning, lookingClient, stopDaemon } from './running-daemon.js'
import { takeOutBlock } from './shell-part.js'
import type { Part, PartPlan, SetupContext, Step } from './step.js'

export async function planRemoval(context: SetupContext, parts: readonly Part[]): Promise<PartPlan> {
  const record = await context.record.read()
  const steps = [
    ...pluginSteps(context, record),
    ...blockSteps(context, record),
    ...serviceSteps(context, record),
  ]
  return { steps: steps.filter(({ part }) => parts.includes(part)), notes: [] }
}

function pluginSteps(
  { session: { terminal }, record }: SetupContext,
  { pythons }: SetupRecord,
): readonly Step[] {
  return pythons.map((python) => ({
    part: 'python',
    says: [`take our plugin out of the environment of ${printable(inHome(python, terminal))}`],
    files: [],
    run: () => takeOutPlugin(python, terminal, record),
  }))
}

function blockSteps(
  { session: { terminal }, record }: SetupContext,
  { blocks }: SetupRecord,
): readonly Step[] {
  // The last one first: each is then as it was when it was written.
  const each = new Map(blocks.map((block) => [`${block.part} ${block.path}`, block])).values()
  return [...each].reverse().map((block) => {
    const name = printable(inHome(block.path, terminal))
    return {
      part: block.part,
      says: [`take our lines out of ${name}`],
      files: [],
      async run() {
        const { directories } = await record.read()
        const said = await takeOutBlock(block, record, name)
        await removeEmpty(directories)
        return said
      },
    }
  })
}

function serviceSteps(
  { session, record }: SetupContext,
  { service, onDemand }: SetupRecord,
): readonly Step[] {
  const step = (says: string, run: () => Promise<string>): Step => ({
    part: 'service',
    says: [says],
    files: [],
    run,
  })
  return [
    ...(service
      ? [
          step('uninstall the service, and stop the daemon', async () => {
            const { directories } = await record.read()
            const removed = await openServiceManager(session).uninstall()
            await record.change((now) => ({ ...now, service: false }))
            await removeEmpty(directories)
            return `${removed.length} files of the service are removed`
          }),
        ]
      : []),
    ...(onDemand === undefined
      ? []
      : [
          step('stop the daemon, and let no command start one', async () => {
            await record.change(({ onDemand: _old, ...now }) => now)
            const status = await ifRunning(lookingClient(session.terminal).status())
            // One that a person started stays.
            if (status?.daemon.on_demand === true) await stopDaemon(session.terminal, session.signal)
            return 'no command starts a daemon'
          }),
        ]),
  ]
}

/** Everything that is still to be set up, part after part: what a daemon is needed for comes last. */
import { planAdoptPart, planLoginPart } from './login-part.js'
import { planPythonPart } from './python-part.js'
import { planServicePart } from './service-part.js'
import { planShellPart } from './shell-part.js'
import type { Part, PartPlan, SetupContext } from './step.js'

export async function planSetup(context: SetupContext, parts: readonly Part[]): Promise<PartPlan> {
  const plans: PartPlan[] = []
  for (const part of parts) plans.push(await planPart(context, part))
  return { steps: plans.flatMap(({ steps }) => steps), notes: plans.flatMap(({ notes }) => notes) }
}

function planPart(context: SetupContext, part: Part): Promise<PartPlan> {
  switch (part) {
    case 'service':
      return planServicePart(context)
    case 'completion':
    case 'hook':
      return planShellPart(context, part)
    case 'python':
      return planPythonPart(context)
    case 'adopt':
      return planAdoptPart(context)
    case 'login':
      return planLoginPart(context)
  }
}

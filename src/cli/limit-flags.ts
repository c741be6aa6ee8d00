/** The flags that limit a token, for every command that makes one. */
import { type Command, Option } from 'commander'
import { ASK_MODES, POLICY_NAMES } from '../wire/kinds.js'

const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value]

/** `when` is put before each description. */
export function addLimits(command: Command, when = ''): Command {
  return (
    command
      // Listed for completions; the daemon checks the name, and knows the nearest.
      .addOption(
        new Option('--may <policy>', `${when}what it may do at Prefect: ${POLICY_NAMES.join(', ')}`)
          .choices(POLICY_NAMES)
          .argParser((value: string) => value),
      )
      .option(
        '--allow <operation>',
        `${when}an operation that the policy lacks, such as 'POST /logs/'`,
        collect,
      )
      .option('--deny <operation>', `${when}an operation that the policy loses`, collect)
      .addOption(new Option('--ask <requests>', `${when}which requests wait for your yes`).choices(ASK_MODES))
      .option('--writes-per-hour <n>', `${when}how many writes it may do in any hour`)
      .option('--requests-per-minute <n>', `${when}how many requests it may send in any minute`)
  )
}

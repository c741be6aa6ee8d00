/** The help of `agent run`; `fast/agent.ts` does the work. */
import type { Command } from 'commander'
import { addLimits } from '../limit-flags.js'

export function addAgent(program: Command): void {
  const agent = program
    .command('agent')
    .description('run a coding agent with a token that is limited, watched and revoked')
  const run = agent
    .command('run')
    .description('run a command with a token of its own through the proxy, away from your keys')
    .usage('[options] [--] CMD [ARGS...]')
    .option('-p, --profile <name>', 'the profile (default: PREFECT_PROFILE, else the active one)')
    .addHelpText(
      'after',
      `
Example: prefect-auth agent run -- claude

Without --may: --may read --ask write, so that it reads, and what changes something waits for your yes.
Without a budget: --writes-per-hour 30 --requests-per-minute 120.

Exit code: that of the command; 128+n for a signal, 127 not found, 126 not executable,
125 if the command was never started (the reason is on stderr).`,
    )
  addLimits(run)
}

/** `prefect-auth asks …`: requests that wait for your yes. */
import type { Command } from 'commander'
import { describeAnswer, describeAsk, describeAsks } from '../ask-text.js'
import { watchAsks } from '../ask-watch.js'
import { usageError } from '../failure.js'
import { type CommonOptions, type Start, withJson, withNames } from '../session.js'
import { formatNames, printable } from '../text.js'

interface AsksOptions extends CommonOptions {
  readonly watch?: boolean
  readonly names?: boolean
}

interface YesOptions extends CommonOptions {
  readonly hour?: boolean
}

/** commander gives `--json` after a subcommand to `asks`, which has it too. */
export function addAsks(program: Command, start: Start): void {
  const asks = withNames(withJson(program.command('asks')))
    .description('list the requests that wait for your yes; answer them')
    .option('--watch', 'print them as they open and close, and answer them by a key, until Ctrl-C')
    .action((options: AsksOptions) =>
      start('asks', options, async (session) => {
        if (options.watch === true) return watchAsks(session)
        const list = await session.client.asks()
        if (options.names === true)
          session.answer(list, () => formatNames(list.asks.map(({ id }) => String(id))))
        else session.answer(list, () => describeAsks(list, session.terminal.now(), session.width))
        return 0
      }),
    )
  withJson(asks.command('show <id>'))
    .description('show a request with its body')
    .action((id: string, _options: CommonOptions, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>()
      return start('asks show', options, async (session) => {
        const ask = await session.client.oneAsk(parseId(id))
        session.answer(ask, () => describeAsk(ask))
      })
    })
  withJson(asks.command('yes <id>'))
    .description('let the request pass once, within the next ten minutes')
    .option('--hour', 'let this token do the same operation for an hour, with any body')
    .action((id: string, _options: YesOptions, command: Command) => {
      const options = command.optsWithGlobals<YesOptions>()
      return start('asks yes', options, async (session) => {
        const span = options.hour === true ? 'hour' : 'once'
        const answer = await session.client.answerAsk(parseId(id), { accept: true, for: span })
        session.answer(answer, () => describeAnswer(answer))
      })
    })
  withJson(asks.command('no <id>'))
    .description('refuse the request; the client gets an error')
    .action((id: string, _options: CommonOptions, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>()
      return start('asks no', options, async (session) => {
        const answer = await session.client.answerAsk(parseId(id), { accept: false })
        session.answer(answer, () => describeAnswer(answer))
      })
    })
}

function parseId(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw usageError(`'${printable(text)}' is not the number of a question`, 'prefect-auth asks')
}

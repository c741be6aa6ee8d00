// The table as Markdown and as a picture, from samples by row: { [id]: { ours: [], [name]: [] } }, in pairs.
import { ROWS } from './rows.mjs'

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

/** The median of the ratios, pair by pair: what slows both down falls out. */
export const medianRatio = (ours, theirs) => median(ours.map((value, index) => value / theirs[index]))

/** A row and its figures. Throws if anybody whom the row names was not measured. */
function figuresOf(row, samples) {
  const missing = ['ours', ...row.beside].filter((name) => !(samples?.[name]?.length > 0))
  if (missing.length > 0) throw new Error(`${row.id} (${row.what}): not measured: ${missing.join(', ')}`)
  const others = row.beside.map((name) => ({
    ...{ name, value: median(samples[name]) },
    ratio: medianRatio(samples.ours, samples[name]),
    more: median(samples.ours.map((value, index) => value - samples[name][index])),
  }))
  return { ...row, value: median(samples.ours), others }
}

export const show = (value) =>
  value >= 1000
    ? String(Math.round(value))
    : value >= 100
      ? value.toFixed(0)
      : value.toFixed(value < 10 ? 2 : 1)
const times = (ratio) => (Number.isFinite(ratio) ? `${ratio.toFixed(2)}x` : '–')

function isMet({ limit, isMost, beside, isMore }, { value, others }) {
  const other = others.find(({ name }) => name === beside)
  const seen = other === undefined ? value : isMore ? other.more : other.ratio
  return isMost ? seen <= limit : seen >= limit
}

/** A goal as the reader sees it. */
export function goalText({ limit, isMost, beside, isMore }, unit) {
  const sign = isMost ? '≤' : '≥'
  if (beside === undefined) return `${sign} ${limit}`
  return isMore ? `${sign} ${limit} ${unit} more` : `${sign} ${limit}x ${beside}`
}

const HEAD = '| work | unit | ours | ceiling | peers | goal |\n|---|---|---|---|---|---|'
const cell = ({ name, value, ratio }) => `${name} ${show(value)} (${times(ratio)})`

/** One line for each of `rows`: every figure is a median, every ratio (ours to theirs) the median of the pairs. */
export function renderTable(samples, rows = ROWS) {
  const lines = rows.map((row) => {
    const figures = figuresOf(row, samples[row.id])
    const [ceiling, ...peers] = figures.others
    const goals = row.goals.map(
      (goal) => `${goalText(goal, row.unit)}${isMet(goal, figures) ? '' : ' (missed)'}`,
    )
    const cells = [cell(ceiling), peers.map(cell).join(', ') || '–', goals.join(', ') || '–']
    return `| ${[row.what, row.unit, show(figures.value), ...cells].join(' | ')} |`
  })
  return `${HEAD}\n${lines.join('\n')}`
}

const WIDTH = 760
const LEFT = 190
const BAR = 14
const LONGEST = WIDTH - LEFT - 130

const inXml = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('`', '')

/** At commas, as a line has room for. */
function wrap(text) {
  const lines = ['']
  for (const word of text.split(/(?<=[,;]) /)) {
    const line = `${lines.at(-1)} ${word}`.trim()
    if (line.length > 120) lines.push(word)
    else lines[lines.length - 1] = line
  }
  return lines
}

/** Bars of the rows that are drawn, ours first; `about` says when, where and with what it was measured. */
export function renderPicture(samples, about) {
  let y = 16
  const parts = []
  const text = (x, at, words, more = '') =>
    parts.push(`<text x="${x}" y="${at}"${more}>${inXml(words)}</text>`)
  text(
    0,
    y,
    'prefect-auth and what could run instead (shorter is better, unless it says otherwise)',
    ' class="title"',
  )
  for (const line of about.flatMap(wrap)) {
    y += 15
    text(0, y, line)
  }
  y += 24
  for (const row of ROWS.filter(({ isDrawn }) => isDrawn)) {
    const { value, others, what, unit, isMoreBetter } = figuresOf(row, samples[row.id])
    const bars = [{ name: 'prefect-auth', value, isOurs: true }, ...others]
    const longest = Math.max(...bars.map((bar) => bar.value))
    const title = what === 'the same' ? ROWS[ROWS.indexOf(row) - 1].what : what
    text(0, y, `${title}, ${unit}${isMoreBetter ? ' (more is better)' : ''}`, ' class="title"')
    y += 8
    for (const { name, value: amount, isOurs, ratio } of bars) {
      const length = Math.max(1, (amount / longest) * LONGEST)
      text(LEFT - 8, y + BAR - 3, name, ` text-anchor="end"${isOurs ? ' class="title"' : ''}`)
      parts.push(
        `<rect x="${LEFT}" y="${y + 1}" width="${length.toFixed(1)}" height="${BAR - 3}" class="${isOurs ? 'ours' : 'theirs'}"/>`,
      )
      text(
        LEFT + length + 6,
        y + BAR - 3,
        ratio === undefined ? show(amount) : `${show(amount)}, ours ${times(ratio)}`,
      )
      y += BAR
    }
    y += 22
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 ${WIDTH + 24} ${y + 6}" role="img" aria-label="prefect-auth beside its peers">
<style>
svg { color: #1f2328; font: 11px system-ui, sans-serif }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }
text, .theirs { fill: currentColor } .theirs { opacity: .35 } .ours { fill: #2f81f7 } .title { font-weight: 600 }
</style>
${parts.join('\n')}
</svg>
`
}

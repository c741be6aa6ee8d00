/** Who is in at the moment: members that come and go all the time, in no order. */

interface Entry<Member> {
  readonly member: Member
  /** -1 once it has left. */
  place: number
}

export interface Roll<Member> {
  /** Returns how to leave, which may be called more than once. */
  enter(member: Member): () => void
  /** Those of this moment. */
  members(): readonly Member[]
  isEmpty(): boolean
}

export function createRoll<Member>(): Roll<Member> {
  // A list, because every request is in one for a moment: V8 keeps what went through a busy Set alive until a full collection.
  const open: Entry<Member>[] = []
  return {
    enter(member) {
      const entry = { member, place: open.length }
      open.push(entry)
      return () => leave(open, entry)
    },
    members: () => open.map(({ member }) => member),
    isEmpty: () => open.length === 0,
  }
}

/** The last entry moves to the place of the one that leaves. */
function leave<Member>(open: Entry<Member>[], entry: Entry<Member>): void {
  const { place } = entry
  if (place < 0) return
  entry.place = -1
  const last = open.pop()
  if (last === undefined || last === entry) return
  last.place = place
  open[place] = last
}

// @ts-check

/**
 * The days on which photos were added, which is the order of the list.
 *
 * @import { Photo } from './store.js'
 */

/** @param {number} day its first millisecond here */
function nameOf(day) {
  const now = new Date()
  const [today, yesterday] = [0, 1].map((back) =>
    new Date(now.getFullYear(), now.getMonth(), now.getDate() - back).getTime(),
  )
  if (day === today) return 'Today'
  if (day === yesterday) return 'Yesterday'
  return new Date(day).toLocaleDateString('en', { dateStyle: 'full' })
}

/**
 * The list in parts of one day each, and of so many photos at most. Only the first part of a day has its name.
 *
 * @param {Photo[]} all
 * @param {number} most
 */
export function partsOf(all, most) {
  /** @type {{ day: string, some: Photo[] }[]} */
  const parts = []
  let before = 0
  for (const photo of all) {
    const day = new Date(photo.added).setHours(0, 0, 0, 0)
    const part = parts.at(-1)
    if (part && day === before && part.some.length < most) part.some.push(photo)
    else parts.push({ day: day === before ? '' : nameOf(day), some: [photo] })
    before = day
  }
  return parts
}

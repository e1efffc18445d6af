// @ts-check

/** @import { Photo } from './store.js' */

import { retry } from './follow.js'
import { sendAgain } from './send.js'
import { canRetry, remove } from './store.js'
import { h } from './tools.js'

/** What can be done about a photo's problem. @param {Photo} photo */
export function actionsFor(photo) {
  /** @param {string} text @param {() => void} onclick */
  const button = (text, onclick) => h('button', { type: 'button', className: 'quiet small', onclick }, text)
  return [
    ...(photo.file && photo.problem?.again ? [button('Send again', () => sendAgain(photo))] : []),
    ...(canRetry(photo) ? [button('Try again', () => retry(photo))] : []),
    // A failed image is on the server's list and would be back after a reload.
    ...(photo.phase === 'rejected' || photo.phase === 'gone' ? [button('Dismiss', () => remove(photo))] : []),
  ]
}

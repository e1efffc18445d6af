import { existsSync } from 'node:fs'
import { type Browser, chromium, type Page } from 'playwright-core'
import { onPath } from '../build/terraform.ts'
import { skipped } from './tools.ts'
import { LONGEST_MS, until } from './until.ts'

/** CHROMIUM names another one. Undefined where this machine has none. */
export const CHROMIUM =
  process.env['CHROMIUM'] ||
  ['chromium', 'chromium-browser', 'google-chrome']
    .map(onPath)
    .concat('/Applications/Google Chrome.app/Contents/MacOS/Google Chrome')
    .find((place) => place !== undefined && existsSync(place))
export const skippedWithoutBrowser = skipped(CHROMIUM === undefined ? ['Chromium (CHROMIUM)'] : [])

/**
 * A browser that sends no request but for what a test opens.
 *
 * @param more arguments
 */
export const startBrowser = (...more: string[]): Promise<Browser> =>
  chromium.launch({
    executablePath: CHROMIUM ?? '',
    timeout: LONGEST_MS,
    args: [
      ...[
        '--no-sandbox',
        '--disable-gpu',
        '--disable-software-rasterizer',
        '--disable-quic',
        '--no-first-run',
      ],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
      ...more,
    ],
  })

/** Opens an address also where the page has begun a step back through its history, which breaks off another navigation. */
export const goTo = (page: Page, address: string): Promise<true> =>
  until(`${address} is open`, () =>
    page.goto(address).then(
      () => true,
      () => undefined,
    ),
  )

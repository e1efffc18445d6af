import { CALL_USD } from '../shared/config.ts'

/**
 * List prices in US dollars, on demand and without free tiers, of November 2025. All of them were written down from
 * memory, and are to be checked against the page that each one names before anybody relies on them.
 */
export const PRICES_OF = 'November 2025, from memory'

export interface Prices {
  /** https://aws.amazon.com/rekognition/pricing: an image and analysis, for the first million of a month, and the rest. */
  rekognition: { first: number; rest: number }
  /** https://aws.amazon.com/dynamodb/pricing/on-demand */
  writeUnit: number
  readUnit: number
  /** https://aws.amazon.com/s3/pricing: a PUT or POST, and a GET. */
  s3Put: number
  s3Get: number
  /** https://aws.amazon.com/sqs/pricing: a request of a standard queue, of 64 KB at the most. */
  sqs: number
  /** https://aws.amazon.com/eventbridge/pricing: an event, of 64 KB at the most. */
  event: number
  /** https://aws.amazon.com/lambda/pricing: an invocation, and a GB for a second on arm64. */
  invocation: number
  gbSecond: number
  /** https://aws.amazon.com/api-gateway/pricing: a request of a REST API. */
  gateway: number
  /** https://aws.amazon.com/step-functions/pricing: a transition of a standard workflow. */
  transition: number
}

const US: Prices = {
  rekognition: CALL_USD,
  writeUnit: 0.625e-6,
  readUnit: 0.125e-6,
  s3Put: 5e-6,
  s3Get: 0.4e-6,
  sqs: 0.4e-6,
  event: 1e-6,
  invocation: 0.2e-6,
  gbSecond: 13.3334e-6,
  gateway: 3.5e-6,
  transition: 25e-6,
}
export const PRICES: Record<string, Prices> = { 'us-east-1': US, 'us-west-2': US }
